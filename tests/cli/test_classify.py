import csv
import io
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import clipkit
from tests.cli.conftest import Outcome
from tests.fakes import age_files

Run = Callable[..., Outcome]
LABELS = "cat, dog,owl ,castle,,coffee cup"


@pytest.fixture
def owl(samples: list[Path]) -> Path:
    return next(path for path in samples if path.name == "owl.jpg")


def test_json_prints_one_object_a_line_best_first(run: Run, owl: Path, samples: list[Path]) -> None:
    cat = owl.with_name("cat.jpg")
    outcome = run("classify", cat, owl, "--labels", LABELS, "--top", 2, "--json")
    assert outcome.status == 0
    objects = [json.loads(line) for line in outcome.out.splitlines()]
    assert [item["path"] for item in objects] == [str(cat), str(owl)]
    assert [item["labels"][0]["label"] for item in objects] == ["cat", "owl"]
    for item in objects:
        assert list(item) == ["path", "labels"]
        scores = [label["score"] for label in item["labels"]]
        assert len(scores) == 2
        assert scores == sorted(scores, reverse=True)


def test_paths_are_printed_as_given(run: Run, owl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(owl.parent)
    outcome = run("classify", "./owl.jpg", "--labels", LABELS, "--json")
    assert json.loads(outcome.out)["path"] == "./owl.jpg"


def test_a_folder_is_all_its_images(run: Run, owl: Path, tmp_path: Path) -> None:
    for number in (2, 1):
        (tmp_path / f"{number}.jpg").write_bytes(owl.read_bytes())
    (tmp_path / "notes.txt").write_text("not an image")
    outcome = run("classify", tmp_path, "--labels", LABELS, "--json")
    paths = [json.loads(line)["path"] for line in outcome.out.splitlines()]
    assert paths == [str(tmp_path / "1.jpg"), str(tmp_path / "2.jpg")]


def test_csv_has_a_header_and_a_row_a_label(run: Run, owl: Path) -> None:
    outcome = run("classify", owl, "--labels", LABELS, "--top", 3, "--csv")
    rows = list(csv.reader(io.StringIO(outcome.out)))
    assert rows[0] == ["path", "label", "score"]
    assert len(rows) == 4
    assert rows[1][:2] == [str(owl), "owl"]
    assert 0 < float(rows[1][2]) <= 1


def test_text_is_for_people(run: Run, owl: Path) -> None:
    outcome = run("classify", owl, "--labels", LABELS)
    assert outcome.out.startswith(f"{owl}\towl ")
    assert "%" in outcome.out


def test_labels_come_from_a_file(run: Run, owl: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes("\ufeffcat\r\nfish, with a comma\r\n\r\nowl\n".encode())
    outcome = run("classify", owl, "--labels-file", tmp_path / "labels.txt", "--json")
    labels = [item["label"] for item in json.loads(outcome.out)["labels"]]
    assert sorted(labels) == ["cat", "fish, with a comma", "owl"]
    assert labels[0] == "owl"


@pytest.mark.parametrize("option", ["--labels", "--labels-file"])
def test_a_labels_file_may_have_comments(run: Run, owl: Path, tmp_path: Path, option: str) -> None:
    lines = ["# pets", "cat", "", "  # more", "fish, with a comma", "C#", "\\#selfie", "   ", "owl"]
    (tmp_path / "labels.txt").write_bytes(("\ufeff" + "\r\n".join(lines)).encode())
    outcome = run("classify", owl, option, tmp_path / "labels.txt", "--json", "--top", 9)
    labels = {item["label"] for item in json.loads(outcome.out)["labels"]}
    assert labels == {"cat", "fish, with a comma", "C#", "#selfie", "owl"}


@pytest.mark.parametrize("option", ["--labels", "--labels-file"])
def test_a_label_that_is_given_twice_counts_once(
    run: Run, owl: Path, tmp_path: Path, option: str
) -> None:
    (tmp_path / "labels").write_text("owl\ncat\nowl\n dog\ncat\nowl")
    given = {"--labels": "owl,cat, owl,dog,cat ,owl", "--labels-file": tmp_path / "labels"}
    outcome = run("classify", owl, option, given[option], "--json", "--top", 9)
    labels = json.loads(outcome.out)["labels"]
    assert sorted(item["label"] for item in labels) == ["cat", "dog", "owl"]
    assert sum(item["score"] for item in labels) == pytest.approx(1, abs=1e-5)
    assert "labels that were given more than once count once: 'owl', 'cat'" in outcome.err


@pytest.mark.parametrize("option", ["--labels", "--labels-file"])
def test_labels_with_their_own_prompts_come_from_json(
    run: Run, owl: Path, tmp_path: Path, starter: clipkit.Encoder, option: str
) -> None:
    prompts = {"bird": ["a photo of an owl, a {c}", "an owl"], "pet": "a cat, a {}"}
    (tmp_path / "prompts.json").write_text(json.dumps(prompts))
    outcome = run("classify", owl, option, tmp_path / "prompts.json", "--json")
    spelled = {"bird": ["a photo of an owl, a bird", "an owl"], "pet": ["a cat, a pet"]}
    ((first, second),) = clipkit.ZeroShotClassifier(starter, spelled).classify([owl])
    assert json.loads(outcome.out)["labels"] == [
        {"label": "bird", "score": pytest.approx(first["score"], abs=1e-5)},
        {"label": "pet", "score": pytest.approx(second["score"], abs=1e-5)},
    ]
    refused = run("classify", owl, option, tmp_path / "prompts.json", "--domain", "bird")
    assert (refused.status, refused.out) == (2, "")
    assert "need no templates and no domain" in refused.err


def test_a_json_list_is_a_list_of_labels(run: Run, owl: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text('["cat", "owl, the bird", "#dog"]', encoding="utf-8-sig")
    outcome = run("classify", owl, "--labels-file", tmp_path / "labels.json", "--json")
    labels = sorted(item["label"] for item in json.loads(outcome.out)["labels"])
    assert labels == ["#dog", "cat", "owl, the bird"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "labels.json is not JSON: "),
        ('"cat"', "must hold a list of labels, or an object with the prompts of each, got a str"),
        (
            '{"cat": "a", "dog": "b", "cat ": "c"}',
            "labels.json has the label 'cat' more than once",
        ),
        ('{"cat": []}', "at least one prompt for 'cat' is needed, got none"),
        ("[]", "holds no label"),
        ("[3]", "class name 1 of 1 must be a string, got int 3"),
    ],
)
def test_a_wrong_json_file_of_labels_is_told(
    run: Run, owl: Path, tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "labels.json").write_text(content)
    outcome = run("classify", owl, "--labels-file", tmp_path / "labels.json")
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.count("\n") == 1
    assert message in outcome.err
    assert ("is not JSON" in outcome.err) == (content == "{")


@pytest.mark.filterwarnings("default")  # the command line prints them, which is tested here
def test_labels_that_are_the_same_to_the_model_are_one_row(run: Run, owl: Path) -> None:
    outcome = run("classify", owl, "--labels", "Owl,owl,OWL,cat", "--json")
    first, second = json.loads(outcome.out)["labels"]
    assert (first["label"], second["label"]) == ("Owl / owl / OWL", "cat")
    assert first["score"] + second["score"] == pytest.approx(1, abs=1e-6)
    assert "scored as one: 'Owl' = 'owl' = 'OWL'" in outcome.err


@pytest.mark.filterwarnings("default")  # the command line prints them, which is tested here
def test_labels_that_the_model_does_not_know_are_told_by_name(run: Run, owl: Path) -> None:
    outcome = run("classify", owl, "--labels", "猫,犬,鳥", "--json")
    assert "no word of these labels is in the model's vocabulary" in outcome.err
    assert "'猫', '犬', '鳥'" in outcome.err
    assert "one label always scores 1" in outcome.err
    assert json.loads(outcome.out)["labels"] == [{"label": "猫 / 犬 / 鳥", "score": 1.0}]


@pytest.mark.slow
def test_multi_label_scores_need_not_sum_to_one(run: Run, owl: Path) -> None:
    words = ("classify", owl, "--labels", "castle,scissors", "--json")
    alone = json.loads(run(*words, "--multi-label").out)["labels"]
    together = json.loads(run(*words).out)["labels"]
    assert sum(item["score"] for item in together) == pytest.approx(1.0, abs=1e-5)
    assert sum(item["score"] for item in alone) < 0.5


def test_one_label_gives_a_hint(run: Run, owl: Path) -> None:
    outcome = run("classify", owl, "--labels", "owl", "--json")
    assert "one label always scores 1" in outcome.err
    assert json.loads(outcome.out)["labels"] == [{"label": "owl", "score": 1.0}]


def test_unreadable_images_are_told_on_stderr(run: Run, owl: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    words = ("classify", tmp_path / "empty.jpg", owl, tmp_path / "none.jpg", "--labels", LABELS)
    outcome = run(*words, "--json")
    assert outcome.status == 0
    assert json.loads(outcome.out)["path"] == str(owl)
    assert "2 images skipped:" in outcome.err
    assert "empty.jpg: is empty" in outcome.err
    assert "none.jpg: " in outcome.err
    assert run(*words, "--strict").status == 1


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that went through the image encoder."""
    names: list[str] = []
    stream_images = clipkit.Encoder.stream_images

    def remember(self: clipkit.Encoder, images: Sequence[Path], **options: Any) -> Any:
        names.extend(Path(image).name for image in images)
        return stream_images(self, images, **options)

    monkeypatch.setattr(clipkit.Encoder, "stream_images", remember)
    return names


@pytest.fixture
def indexed(run: Run, owl: Path, tmp_path: Path) -> Path:
    """A folder of six images and a broken one, indexed."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for place in ("cat.jpg", "dog.jpg", "owl.jpg", "sub/bee.jpg", "sub/fig.jpg", "panda.jpg"):
        shutil.copy2(owl.with_name(Path(place).name), folder / place)
    (folder / "broken.jpg").write_bytes(b"no image")
    age_files(folder)
    assert run("index", folder).status == 0
    return folder


def results(outcome: Outcome) -> dict[str, dict[str, float]]:
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    return {
        line["path"]: {item["label"]: item["score"] for item in line["labels"]} for line in lines
    }


WORDS = ("--labels", "cat,dog,owl,bee,fig,panda", "--json", "--top", "6")


@pytest.mark.slow
def test_an_indexed_folder_is_classified_by_its_index(
    run: Run, indexed: Path, encoded: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    by_index = run("classify", indexed, *WORDS)
    assert encoded == ["broken.jpg"]
    assert f"6 of 7 images of {indexed} are looked up in its index\n" in by_index.err
    assert "1 image skipped" in by_index.err
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "another home"))
    by_encoder = run("classify", indexed, *WORDS)
    assert len(encoded) == 8
    before, now = results(by_encoder), results(by_index)
    assert list(now) == list(before)  # the same order of images
    for path, scores in before.items():
        # The index holds half precision: a cosine is off by 5e-4 at most, a logit by 0.03.
        assert now[path] == pytest.approx(scores, abs=0.01)


@pytest.mark.slow
def test_what_the_index_does_not_know_is_encoded_and_moved_files_are_known(
    run: Run, indexed: Path, owl: Path, encoded: list[str]
) -> None:
    (indexed / "cat.jpg").rename(indexed / "sub" / "zebra.jpg")  # a cat all the same
    shutil.copy2(owl.with_name("castle.jpg"), indexed / "dog.jpg")  # another content
    shutil.copy2(owl.with_name("castle.jpg"), indexed / "new.jpg")
    (indexed / "owl.jpg").touch()
    outcome = run("classify", indexed, *WORDS)
    assert sorted(encoded) == ["broken.jpg", "dog.jpg", "new.jpg"]
    found = results(outcome)
    assert [Path(path).name for path in found] == [
        "dog.jpg",
        "new.jpg",
        "owl.jpg",
        "panda.jpg",
        "bee.jpg",
        "fig.jpg",
        "zebra.jpg",
    ]
    best = {Path(path).stem: max(scores, key=scores.__getitem__) for path, scores in found.items()}
    assert best["zebra"] == "cat"
    assert all(best[name] == name for name in ("owl", "bee", "fig", "panda"))


@pytest.mark.slow
def test_a_part_of_an_indexed_folder_is_looked_up_too(
    run: Run, indexed: Path, encoded: list[str]
) -> None:
    outcome = run("classify", indexed / "sub", indexed / "sub" / "bee.jpg", *WORDS)
    assert [Path(path).name for path in results(outcome)] == ["bee.jpg", "fig.jpg"]
    assert encoded == []


@pytest.mark.slow
def test_an_index_of_another_model_is_not_used(
    run: Run, indexed: Path, encoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clipkit.Encoder, "space_id", "another")
    outcome = run("classify", indexed, *WORDS)
    assert len(encoded) == 7
    assert "looked up" not in outcome.err


def test_a_name_with_a_line_break_is_one_line_of_a_pipe(
    run: Run, tmp_path: Path, owl: Path
) -> None:
    path = tmp_path / "new\nline.jpg"
    shutil.copy(owl, path)
    (line,) = run("classify", path, "--labels", "owl, cat", "--top", 1).out.splitlines()
    name, _, scores = line.partition("\t")
    assert json.loads(name) == str(path)
    assert scores.startswith("owl ")


def test_nothing_readable_is_status_1(run: Run, tmp_path: Path) -> None:
    assert run("classify", tmp_path / "none.jpg", "--labels", LABELS).status == 1
    outcome = run("classify", tmp_path, "--labels", LABELS)
    assert (outcome.status, outcome.err) == (1, "no images found\n")


@pytest.mark.slow
def test_an_indexed_folder_whose_disk_is_away_is_told(run: Run, indexed: Path) -> None:
    indexed.rename(indexed.with_name("away"))
    indexed.mkdir()
    away = f"none of the 6 images indexed in {indexed} is there: connect their disk and run the "
    for _ in range(2):  # before and after the index knows of it
        outcome = run("classify", indexed, *WORDS)
        assert (outcome.status, outcome.out) == (1, "")
        assert outcome.err.startswith(away)
        run("index", indexed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--labels", " , "), '--labels needs one label or more, as in  --labels "cat, dog", got'),
        (("--labels", "cat", "--top", "0"), "must be a whole number, 1 or more, got '0'"),
        (("--labels", "cat", "--templates", "phto"), "'phto' is neither a template"),
        (("--labels", "cat", "--templates", "{} {}"), "exactly one {}"),
        (("--labels-file", "missing.txt"), "missing.txt: No such file"),
        (("--labels", "missing.txt"), "missing.txt: No such file"),
        (("--labels-file", os.devnull), "holds no label: one a line is needed"),
        (("--labels", "cat", "--max-megapixels", "0"), "must be a number above 0"),
    ],
)
def test_wrong_options_are_one_line_and_status_2(
    run: Run, owl: Path, options: tuple[str, ...], message: str
) -> None:
    outcome = run("classify", owl, *options)
    assert outcome.status == 2
    assert outcome.out == ""
    assert outcome.err.startswith(("clipkit: ", "clipkit classify: "))
    assert outcome.err.count("\n") == 1
    assert message in outcome.err


def test_labels_without_quotes_are_told(run: Run, owl: Path) -> None:
    outcome = run("classify", owl, "--labels", "cat,", "dog,", "big", "owl")
    assert outcome.status == 2
    assert outcome.err.rstrip().endswith('--labels "cat, dog, big owl"')


def test_a_binary_labels_file_is_told(run: Run, owl: Path) -> None:
    outcome = run("classify", owl, "--labels-file", owl)
    assert outcome.status == 2
    assert "is not a text file in UTF-8" in outcome.err


def test_a_low_pixel_limit_refuses(run: Run, owl: Path) -> None:
    outcome = run("classify", owl, "--labels", LABELS, "--max-megapixels", "0.001")
    assert outcome.status == 1
    assert "--max-megapixels" in outcome.err


@pytest.mark.filterwarnings("default")  # the command line prints warnings, which is tested here
def test_a_long_label_says_what_was_cut(run: Run, owl: Path) -> None:
    label = " ".join(f"owl{number}" for number in range(40))
    outcome = run("classify", owl, "--labels", f"cat,{label}")
    assert outcome.status == 0
    assert "clipkit: a text is longer than the 32 tokens the model reads; left out: " in outcome.err


@pytest.fixture
def calibration(run: Run, samples: list[Path], tmp_path: Path) -> Path:
    """Of ten photographs, four of them owls and the rest cats, dogs and castles."""
    counts = {"owl": 4, "cat": 2, "dog": 2, "castle": 2}
    for name, count in counts.items():
        for number in range(count):
            place = tmp_path / "classes" / name / f"{number}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(samples[0].with_name(f"{name}.jpg"), place)
    outcome = run("evaluate", tmp_path / "classes", "--calibrate", tmp_path / "c.json")
    assert outcome.status == 0, outcome.err
    assert "calibrating on 10 images" in outcome.err
    return tmp_path / "c.json"


def test_a_calibration_gives_sets_of_labels(run: Run, owl: Path, calibration: Path) -> None:
    words = ["classify", owl, "--labels", "cat,dog,owl,castle", "--calibration", calibration]
    outcome = run(*words, "--coverage", 0.9, "--json", "--top", 1)
    found = json.loads(outcome.out)
    assert list(found) == ["path", "labels", "label_set"]
    assert len(found["labels"]) == 1
    assert found["label_set"][0]["label"] == "owl"
    assert "90% of them or more" in outcome.err
    assert "not for every image or label" in outcome.err
    rows = list(csv.reader(io.StringIO(run(*words, "--coverage", 0.9, "--csv").out)))
    assert [row[1] for row in rows[1:]] == [item["label"] for item in found["label_set"]]
    assert run(*words, "--coverage", 0.9).out.count("%") == len(found["label_set"])
    loaded = clipkit.Calibration.load(calibration)
    own = json.loads(run(*words[:4], "--json").out)["labels"]
    fitted = json.loads(run(*words, "--json").out)["labels"]
    # Odds to the power of the ratio of the scales.
    starter_scale = clipkit.load().logit_scale
    power = loaded.scoring.logit_scale / starter_scale
    odds = [row[0]["score"] / row[1]["score"] for row in (own, fitted)]
    assert odds[1] == pytest.approx(odds[0] ** power, rel=1e-3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--coverage", "0.9"], "--coverage needs --calibration"),
        (["--calibration", "C", "--coverage", "0.9", "--unknown"], "do not go together"),
        (["--calibration", "C", "--coverage", "0.99"], "needs 99 labelled images"),
        (["--calibration", "C", "--coverage", "1"], "above 0 and below 1"),
        (["--calibration", "C", "--coverage", "0.9", "--templates", "none"], "of the same prompts"),
        (["--calibration", "gone.json"], "gone.json cannot be read"),
        (["--calibration", "C", "--multi-label"], "multi_label"),
        (["--unknown", "--multi-label"], "scored on their own"),
    ],
)
def test_what_a_calibration_cannot_do_is_one_line(
    run: Run, owl: Path, calibration: Path, words: list[str], message: str
) -> None:
    words = [str(calibration) if word == "C" else word for word in words]
    outcome = run("classify", owl, "--labels", "cat,dog,owl,castle", *words)
    assert (outcome.status, outcome.out) == (2, "")
    assert message in outcome.err


def test_unknown_images_are_told(run: Run, owl: Path) -> None:
    words = ["classify", owl, owl.with_name("castle.jpg"), "--labels", "cat,owl", "--unknown"]
    found = [json.loads(line) for line in run(*words, "--json").out.splitlines()]
    assert [item["unknown"] for item in found] == [False, True]
    assert [item["labels"][0]["label"] for item in found] == ["owl", "none of these"]
    assert sum(item["score"] for item in found[1]["labels"]) == pytest.approx(1, abs=1e-5)
    rows = list(csv.reader(io.StringIO(run(*words, "--csv", "--top", 1).out)))
    assert [row[1] for row in rows[1:]] == ["owl", "none of these"]
    assert "\tnone of these 9" in run(*words).out.splitlines()[1]
    assert "none of these" not in run(*words).err
    words[-2] = "submarine, truck"
    assert '2 of 2 images are "none of these": of broad labels' in run(*words).err
