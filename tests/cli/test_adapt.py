"""clipkit adapt: tables for people, JSON for programs, files, heads that classify, and refusals."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipkit.adaptation.classifiers import LinearClassifier
from clipkit.adaptation.head import Head
from clipkit.adaptation.rung import HEAD_NAMES
from clipkit.cli.adapt import RUNGS
from clipkit.encoder.encoder import Encoder
from clipkit.runs.trained_rungs import RECIPES
from tests.cli.conftest import Outcome

Run = Callable[..., Outcome]


@pytest.fixture(scope="module")
def pets(samples: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of six crops of a photograph each."""
    folder = tmp_path_factory.mktemp("pets") / "data"
    for name, photo in zip(("rex", "tom"), samples[:2], strict=True):
        (folder / name).mkdir(parents=True)
        with Image.open(photo) as image:
            size = min(image.size)
            for place in range(6):
                side, left = size - place * size // 9, place * size // 12
                crop = image.convert("RGB").crop((left, 0, left + side, side)).resize((96, 96))
                crop.rotate(20 * place).save(folder / name / f"{place}.png")
    return folder


def test_tables_are_for_people_and_notes_are_not_among_them(
    run: Run, pets: Path, tmp_path: Path
) -> None:
    words = ("adapt", pets, "--retention-set", "none", "--splits", "2")
    page, chart, head = (tmp_path / name for name in ("r.md", "c.png", "h.safetensors"))
    outcome = run(*words, "--report", page, "--chart", chart, "-o", head)
    assert outcome.status == 0
    assert outcome.out.startswith("2 classes, 12 images of which 4 are measured on; mean of 2 ")
    assert "retrieval (Tip-Adapter)" in outcome.out
    assert "Figures are of images that look like these" in outcome.out
    assert "wrote" not in outcome.out
    assert "# " in page.read_text()
    assert chart.read_bytes().startswith(b"\x89PNG")
    assert Head.load(head).class_names == ("rex", "tom")
    assert run(*words, "--report", page, "-o", head).status == 0  # its own files are replaced


def test_json_is_one_object(run: Run, pets: Path) -> None:
    outcome = run("adapt", pets, "--retention-set", "none", "--splits", "1", "--json")
    found = json.loads(outcome.out)
    assert [rung["name"] for rung in found["rungs"]][:2] == ["prompt", "prompts"]
    assert found["baseline"]["name"] == "pixels"
    assert found["seeds"] == [0]


def test_a_warning_is_printed_once(run: Run, pets: Path, tmp_path: Path) -> None:
    shutil.copytree(pets, tmp_path / "pets")
    (tmp_path / "pets" / "tib").mkdir()
    outcome = run("adapt", tmp_path / "pets", "--retention-set", "none", "--splits", "1")
    assert outcome.err.count("are no classes: tib") == 1


def test_class_names_of_a_strangers_head_cannot_control_the_terminal(
    run: Run, samples: list[Path], starter: Encoder, tmp_path: Path
) -> None:
    weights = np.eye(2, starter.embed_dim)
    names = ("\x1b[31mred\n", "blue")
    classifier = LinearClassifier(weights, np.zeros(2))
    head = Head("gda", "starter", starter.space_id, names, classifier)
    head.save(tmp_path / "head.safetensors")
    outcome = run("classify", samples[0], "--head", tmp_path / "head.safetensors")
    assert "\\x1b[31mred\\n " in outcome.out
    assert outcome.out.count("\n") == 1


def test_what_a_file_holds_is_said_where_the_small_model_is_recommended(
    run: Run, tmp_path: Path
) -> None:
    folder, generator = tmp_path / "data", np.random.default_rng(0)
    for number, name in enumerate(("qux", "zap")):
        (folder / name).mkdir(parents=True)
        for place in range(24):  # noise that is a little lighter, which no words are about
            pixels = generator.integers(0, 240, (48, 48, 3)) + 15 * number
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{place}.png")
    head = tmp_path / "head.safetensors"
    words = ("adapt", folder, "--retention-set", "none", "--steps", "1", "-o", head)
    outcome = run(*words)
    assert "A small task-specific model trained on these labels beats the base" in outcome.out
    method = Head.load(head).method
    assert f"the file has the best rung instead, {method}" in outcome.err
    assert f"it is the head of {method}, for 2 classes" in outcome.err


def test_a_head_classifies(run: Run, pets: Path, samples: list[Path], tmp_path: Path) -> None:
    head = tmp_path / "pets.safetensors"
    outcome = run("adapt", pets, "--rung", "probe", "-o", head)
    assert (outcome.status, outcome.out) == (0, "")
    outcome = run("adapt", pets, "--rung", "probe", "-o", head, "--json")
    assert json.loads(outcome.out)["class_names"] == ["rex", "tom"]
    outcome = run("classify", *samples[:2], "--head", head, "--json")
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    assert [line["labels"][0]["label"] for line in lines] == ["rex", "tom"]
    assert sum(item["score"] for item in lines[0]["labels"]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gone"], "gone"),
        ([".", "-o", "head.bin"], "a head is a file that ends in .safetensors"),
        ([".", "--report", "a.html"], "a report is a file that ends in .md"),
        ([".", "--chart", "a.jpg"], "ends in .png"),
        ([".", "-o", "missing/h.safetensors"], "there is no folder missing"),
        ([".", "--rung", "probe"], "say where to with -o"),
        ([".", "--shots", "0"], "--shots"),
        (
            [".", "--rung", "prob", "-o", "x.safetensors"],
            "did you mean probe? The rungs are ",
        ),
        ([".", "--rung", "prob"], "there is no rung 'prob': did you mean probe?"),
        (["gone", "--rung", "Lora", "-o", "x"], "there is no rung 'Lora': did you mean lora?"),
        (["gone", "--rung", "xyz"], "there is no rung 'xyz'; the rungs are prompt, prompts, "),
        ([".", "--rung", "lora"], "of lora and flyp with -o FOLDER"),
        ([".", "--rung", "lora", "-o", "h.safetensors"], "lora is written to a folder, as"),
        (
            [".", "--rung", "gda", "-o", "h"],
            "gda is written to a file that ends in .saf",
        ),
        ([".", "-o", ".", "--steps", "6"], "is there already"),
        ([".", "-o", "no/model", "--steps", "6"], "there is no folder"),
        ([".", "--set", "model.base=x"], "take settings of optimizer., compute., loss. as in"),
        ([".", "--max-forgetting", "2"], "--max-forgetting"),
        ([".", "--splits", "100000000"], "1 or more and at most 1000"),
    ],
)
def test_what_does_not_fit_is_one_line(run: Run, words: list[str], message: str) -> None:
    outcome = run("adapt", *words)
    assert outcome.status == 2
    assert outcome.out == ""
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_the_rungs_of_the_option_are_those_of_the_ladder() -> None:
    assert (*HEAD_NAMES, *(recipe.name for recipe in RECIPES)) == RUNGS


def test_files_of_others_stay(run: Run, pets: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.md"
    notes.write_text("mine")
    outcome = run("adapt", pets, "--report", notes)
    assert outcome.status == 2
    assert "nothing in it says that this command wrote it" in outcome.err
    assert notes.read_text() == "mine"


def test_heads_and_options_of_words_do_not_mix(run: Run, tmp_path: Path) -> None:
    (tmp_path / "h.safetensors").write_bytes(b"x")
    outcome = run("classify", ".", "--head", tmp_path / "h.safetensors", "--unknown")
    assert outcome.status == 2
    assert "--unknown: for labels that are words" in outcome.err
    outcome = run("classify", ".", "--head", tmp_path / "h.safetensors")
    assert "is no head" in outcome.err


def test_splits_are_written_and_taken_again(run: Run, pets: Path, tmp_path: Path) -> None:
    words = ("--retention-set", "none", "--splits", "1", "--json")
    outcome = run("adapt", pets, *words, "--save-splits", tmp_path)
    first = json.loads(outcome.out)
    again = json.loads(run("adapt", pets, *words, "--split-file", tmp_path / "seed-0.json").out)
    for report in (first, again):
        for rung in report["rungs"]:
            rung.pop("seconds")
    assert again["rungs"] == first["rungs"]
    outcome = run("adapt", pets, *words, "--save-splits", tmp_path / "gone")
    assert outcome.status == 2
    assert "there is no folder" in outcome.err


@pytest.mark.filterwarnings("ignore::clipkit.errors.ClipkitWarning")
@pytest.mark.parametrize("words", [("--steps", "5"), ("--rung", "lora")])
def test_a_folder_takes_what_is_recommended_or_named(
    run: Run, pets: Path, tiny_checkpoint: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    place = tmp_path / "model"
    options = ("--retention-set", "none", "--splits", "1", "--set", "compute.epochs=1", "-o", place)
    outcome = run("adapt", pets, "--model", tiny_checkpoint, *options, *words)
    assert outcome.status == 0, outcome.err
    assert ("LoRA on both encoders" in outcome.out) == ("--steps" in words)
    head = Head.load(place / "head.safetensors")
    assert (head.method == "lora") == (place / "lora.safetensors").is_file()
    assert "--rung" not in words or head.method == "lora"
    # The head names its model, so that --model need not be said.
    outcome = run(
        "classify", pets / "rex" / "0.png", "--head", place / "head.safetensors", "--json"
    )
    assert {item["label"] for item in json.loads(outcome.out)["labels"]} == {"rex", "tom"}


def test_a_head_is_written_as_onnx(run: Run, pets: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    place = tmp_path / "pets.onnx"
    assert run("adapt", pets, "--rung", "adapter", "-o", place).status == 0
    about = onnxruntime.InferenceSession(place).get_modelmeta().custom_metadata_map
    assert json.loads(about["class_names"]) == ["rex", "tom"]
    assert run("adapt", pets, "--rung", "gda", "-o", place).status == 0  # its own is replaced


def test_the_help_names_every_rung(run: Run) -> None:
    words = " ".join(run("adapt", "--help").out.split())
    names = [*HEAD_NAMES, *(recipe.name for recipe in RECIPES)]
    assert f"measure nothing: {', '.join(names[:-1])} or {names[-1]}" in words
