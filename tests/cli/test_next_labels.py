"""clipkit adapt --next: lines for pipes, JSON, the table of the next round, and refusals."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Outcome

Run = Callable[..., Outcome]


@pytest.fixture
def photos(samples: list[Path], tmp_path: Path) -> Path:
    """A folder of six photographs, the first two of them sorted into classes beside it."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for photo in samples[:6]:
        (folder / photo.name).write_bytes(photo.read_bytes())
    for name, photo in zip(("rex", "tom"), samples[:2], strict=True):
        (tmp_path / "pets" / name).mkdir(parents=True)
        (tmp_path / "pets" / name / photo.name).write_bytes(photo.read_bytes())
    return folder


def test_each_line_is_a_path_and_why(run: Run, photos: Path) -> None:
    outcome = run("adapt", photos.parent / "pets", "--next", "3", "--from", photos)
    assert outcome.status == 0
    cells = [line.split("\t") for line in outcome.out.splitlines()]
    assert len(cells) == 3
    assert {Path(path).parent for path, _ in cells} == {photos}
    assert all("%" in why and "; like " in why for _, why in cells)
    assert "2 images of" in outcome.err
    assert "labelled already, or to the model the same" in outcome.err


def test_a_warning_is_printed_once(run: Run, photos: Path) -> None:
    (photos.parent / "pets" / "empty").mkdir()
    outcome = run("adapt", photos.parent / "pets", "--next", "3", "--from", photos)
    assert outcome.status == 0
    assert outcome.err.count("in which no image was found are no classes: empty") == 1


def test_json_is_one_object(run: Run, photos: Path) -> None:
    outcome = run("adapt", "--labels", "cat, dog", "--next", "9", "--from", photos, "--json")
    found = json.loads(outcome.out)
    assert len(found["images"]) == 6
    assert found["num_asked"] == 9
    assert found["class_names"] == ["cat", "dog"]
    assert all(Path(image["path"]).is_file() for image in found["images"])


def test_the_table_is_filled_in_and_taken_again(run: Run, photos: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "1.csv", tmp_path / "2.csv"
    outcome = run("adapt", tmp_path / "pets", "--next", "2", "--from", photos, "--to", first)
    assert outcome.status == 0
    rows = [*csv.reader(first.read_text().splitlines())]
    assert [row[1] for row in rows] == ["label", "rex", "tom", "", ""]
    with first.open("w", newline="") as file:
        csv.writer(file).writerows([*rows[:3], [rows[3][0], "rex", ""], [rows[4][0], "cow", ""]])
    words = ("adapt", first, "--label-column", "label", "--next", "9", "--from", photos)
    outcome = run(*words, "--to", second, "--json")
    found = json.loads(outcome.out)
    assert (found["num_labelled"], len(found["images"])) == (4, 2)
    assert sorted(found["class_names"]) == ["cow", "rex", "tom"]
    assert len(second.read_text().splitlines()) == 1 + 4 + 2
    labels = first.read_bytes()
    outcome = run(*words, "--to", first)
    assert outcome.status == 2
    assert "is there already, and labels may have been written into it" in outcome.err
    assert first.read_bytes() == labels
    assert run(*words, "--to", first, "--force").status == 0
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name the labelled images"),
        ([".", "--next", "3"], "--from FOLDER"),
        ([".", "--from", "."], "--from goes with --next N"),
        ([".", "--labels", "a"], "--labels goes with --next N"),
        ([".", "--to", "a.csv"], "--to goes with --next N"),
        (["--next", "3", "--from", "."], "or the classes"),
        ([".", "--next", "0", "--from", "."], "--next"),
        ([".", "--next", "3", "--from", ".", "--chart", "a.png"], "leave --chart out"),
        ([".", "--next", "3", "--from", ".", "--splits", "5"], "leave --splits out"),
        ([".", "--next", "3", "--from", ".", "--seed", "1"], "leave --seed out"),
        ([".", "--next", "3", "--from", ".", "--retention-set", "none"], "--retention-set out"),
        ([".", "--next", "3", "--from", ".", "-o", "a.safetensors"], "leave -o out"),
        ([".", "--next", "3", "--from", ".", "--to", "a.txt"], "ends in .csv"),
        ([".", "--next", "3", "--from", ".", "--to", "gone/a.csv"], "there is no folder gone"),
        (["--labels", "a", "--next", "3", "--from", "."], "two or more"),
        (["--labels", ",", "--next", "3", "--from", "."], "--labels needs one label"),
        (["--labels", "a, b", "--next", "3", "--from", "gone"], "gone"),
    ],
)
def test_what_does_not_fit_is_one_line(
    run: Run, words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = run("adapt", *words)
    assert (outcome.status, outcome.out) == (2, "")
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_prompts_of_classes_are_refused(run: Run, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text('{"cat": "a {}", "dog": "a {}"}')
    words = ("adapt", "--labels", tmp_path / "labels.json", "--next", "3", "--from", photos)
    outcome = run(*words)
    assert outcome.status == 2
    assert "give a list, without prompts of their own" in outcome.err


def test_an_unreadable_image_is_named_and_strict_counts_it(run: Run, photos: Path) -> None:
    (photos / "a.png").write_bytes(b"no image")
    words = ("adapt", "--labels", "cat, dog", "--next", "2", "--from", photos)
    outcome = run(*words)
    assert outcome.status == 0
    assert "1 image skipped" in outcome.err
    assert len(outcome.out.splitlines()) == 2
    assert run(*words, "--strict").status == 1
