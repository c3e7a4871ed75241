import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Outcome

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


def test_a_folder_is_all_its_pictures(run: Run, owl: Path, tmp_path: Path) -> None:
    for number in (2, 1):
        (tmp_path / f"{number}.jpg").write_bytes(owl.read_bytes())
    (tmp_path / "notes.txt").write_text("not a picture")
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


def test_unreadable_pictures_are_told_on_stderr(run: Run, owl: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    words = ("classify", tmp_path / "empty.jpg", owl, tmp_path / "none.jpg", "--labels", LABELS)
    outcome = run(*words, "--json")
    assert outcome.status == 0
    assert json.loads(outcome.out)["path"] == str(owl)
    assert "2 pictures skipped:" in outcome.err
    assert "empty.jpg: is empty" in outcome.err
    assert "none.jpg: " in outcome.err
    assert run(*words, "--strict").status == 1


def test_nothing_readable_is_status_1(run: Run, tmp_path: Path) -> None:
    assert run("classify", tmp_path / "none.jpg", "--labels", LABELS).status == 1
    outcome = run("classify", tmp_path, "--labels", LABELS)
    assert (outcome.status, outcome.err) == (1, "no pictures found\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--labels", " , "), "at least one class name is needed"),
        (("--labels", "cat", "--top", "0"), "--top must be at least 1, got 0"),
        (("--labels", "cat", "--templates", "phto"), "'phto' is neither a template"),
        (("--labels", "cat", "--templates", "{} {}"), "exactly one {}"),
        (("--labels-file", "missing.txt"), "missing.txt: No such file"),
        (("--labels", "missing.txt"), "missing.txt: No such file"),
        (("--labels-file", os.devnull), "holds no label: one a line is needed"),
        (("--labels", "cat", "--max-megapixels", "0"), "--max-megapixels must be above 0"),
    ],
)
def test_wrong_options_are_one_line_and_status_2(
    run: Run, owl: Path, options: tuple[str, ...], message: str
) -> None:
    outcome = run("classify", owl, *options)
    assert outcome.status == 2
    assert outcome.out == ""
    assert outcome.err.startswith("clipkit: ")
    assert outcome.err.count("\n") == 1
    assert message in outcome.err


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
