"""clipkit compile and clipkit doctor, and compiling by itself before a command."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from clipkit.models.sources import resolve_source
from clipkit.runtime.cache import compiled_directory, find_compiled
from tests.cli.conftest import Outcome

Run = Callable[..., Outcome]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def shared_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests of this module follow one another in one home: compiling takes seconds."""
    monkeypatch.setenv("CLIPKIT_HOME", str(home))


@pytest.fixture
def folder(samples: list[Path], tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for path in samples[:3]:
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture
def compiled(run: Run, tiny_checkpoint: Path) -> Path:
    """The tiny checkpoint, compiled by this test or by an earlier one."""
    if find_compiled(resolve_source(tiny_checkpoint)) is None:
        run("compile", tiny_checkpoint)
    return tiny_checkpoint


@pytest.mark.slow
def test_torch_by_wish_compiles_nothing(run: Run, tiny_checkpoint: Path, folder: Path) -> None:
    outcome = run("search", "a cat", folder, "--model", tiny_checkpoint, "--engine", "torch")
    assert "compiling" not in outcome.err
    assert find_compiled(resolve_source(tiny_checkpoint)) is None
    run("index", folder, "--forget")


@pytest.mark.slow
def test_a_command_compiles_its_model_once_and_says_so(
    run: Run, tiny_checkpoint: Path, folder: Path
) -> None:
    first = run("index", folder, "--model", tiny_checkpoint)
    assert first.status == 0
    assert f"compiling local-dir:{tiny_checkpoint}, once" in first.err
    assert find_compiled(resolve_source(tiny_checkpoint)) is not None
    second = run("search", "a cat", folder, "--model", tiny_checkpoint)
    assert "compiling" not in second.err
    assert run("index", folder, "--status").out.count("onnx") == 1


@pytest.mark.slow
def test_compile_prints_the_place_and_what_was_measured(run: Run, compiled: Path) -> None:
    place = compiled_directory(resolve_source(compiled))
    before = place.stat().st_ino
    outcome = run("compile", compiled)
    assert outcome.status == 0
    assert outcome.out == f"{place}\n"
    assert "fp32" in outcome.err
    assert "cosine mean 1.0000" in outcome.err
    assert place.stat().st_ino == before  # it was compiled already
    report = json.loads(run("compile", compiled, "--again", "--json").out)
    assert report["directory"] == str(place)
    assert report["precisions"]["fp32"]["num_images"] == 45
    assert place.stat().st_ino != before


def test_a_model_that_is_not_here_is_told_of_once(run: Run, folder: Path) -> None:
    outcome = run("search", "a cat", folder, "--model", "ViT-B-32/laion400m_e32")
    assert outcome.status == 2
    assert outcome.err.count("is not all on this machine") == 1
    assert "running on torch" not in outcome.err


def test_damaged_weights_are_told_of_once(
    run: Run, tiny_checkpoint: Path, folder: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(tiny_checkpoint, damaged)
    (damaged / "open_clip_model.safetensors").write_bytes(b"nothing")
    outcome = run("search", "a cat", folder, "--model", damaged, "--device", "cpu")
    assert outcome.status == 2
    assert outcome.err.count("is damaged or cut short") == 1
    assert "running on torch" not in outcome.err


def test_what_is_compiled_by_itself_is_left_alone(run: Run) -> None:
    outcome = run("compile", "starter", "--again")
    assert outcome.status == 0
    assert "there is nothing to compile" in outcome.err


@pytest.mark.slow
def test_a_model_that_cannot_be_compiled_runs_on_torch_and_is_not_tried_again(
    run: Run, tiny_checkpoint: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clipkit.errors import CheckpointError
    from clipkit.runtime import compile as compiler

    other = tmp_path / "other"
    shutil.copytree(tiny_checkpoint, other)

    def refuse(*_: object, **__: object) -> None:
        raise CheckpointError("torch cannot export the image tower: no such operator")

    monkeypatch.setattr(compiler, "export_graph", refuse)
    first = run("search", "a cat", folder, "--model", other, "--device", "cpu")
    assert "not compiled, running on torch: torch cannot export the image tower" in first.err
    assert "filepath\tsimilarity" in first.out
    second = run("search", "a cat", folder, "--model", other, "--device", "cpu")
    assert "compil" not in second.err
    doctor = run("doctor", other)
    assert "it cannot be compiled: torch cannot export the image tower" in doctor.out


@pytest.mark.slow
def test_doctor_tells_everything_that_decides_the_embeddings(run: Run, compiled: Path) -> None:
    outcome = run("doctor", compiled)
    assert outcome.status == 0, outcome.out
    for words in (
        "ViT, patch 16, 2 layers, width 64; activation: GELU",
        "32 x 32 pixels, bicubic, resize: squash",
        "mean 0.5, 0.4, 0.3, std 0.2, 0.3, 0.4",
        "16 tokens, filled up with token 0",
        "cleaning: lower, lower case",
        "softmax of cosines times 25.79",  # e^3.25
        "onnx on cpu in",
        "fastest here:",
        "same first image for",
        "nothing wrong was found",
    ):
        assert words in outcome.out
    report = json.loads(run("doctor", compiled, "--json").out)
    assert report["is_healthy"] is True
    assert report["image"]["mean"] == [0.5, 0.4, 0.3]
    assert report["golden"]["mean_text_cosine"] > 0.99
    chosen = f"{report['precision']} on {report['engine']}"
    assert report["compilation"]["trial"]["chosen"] == chosen


@pytest.mark.slow
def test_doctor_exits_1_where_embeddings_are_wrong(
    run: Run, starter_folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(starter_folder, copy, ignore=shutil.ignore_patterns("recipe"))
    config = json.loads((copy / "open_clip_config.json").read_text())
    config["preprocess_cfg"]["mean"] = [0.1, 0.5, 0.9]
    (copy / "open_clip_config.json").write_text(json.dumps(config))
    outcome = run("doctor", copy)
    assert outcome.status == 1
    assert "PROBLEM" in outcome.out
    assert "verdict                         1 wrong" in outcome.out
