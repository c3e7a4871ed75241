"""clipkit audit: text for people, JSON for programs, reports as files, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Outcome

Run = Callable[..., Outcome]


@pytest.fixture
def people(samples: list[Path], tmp_path: Path) -> Path:
    """Forty-eight images: half of them are parts of one photograph, half of another."""
    lines = ["filepath,side,thing,gaps,number"]
    for number in range(48):
        with Image.open(samples[number % 2]) as photo:
            photo.convert("RGB").resize((64 + number, 64)).save(tmp_path / f"{number}.png")
        gap = "" if number < 4 else f"g{number // 2 % 2}"
        lines.append(f"{number}.png,{'xy'[number % 2]},{['cat', 'dog'][number % 2]},{gap},{number}")
    path = tmp_path / "people.csv"
    path.write_text("\n".join(lines))
    return path


def test_text_is_for_people_and_notes_are_not_among_it(run: Run, people: Path) -> None:
    outcome = run("audit", people, "--group", "gaps", "--query", "a man")
    assert outcome.status == 0
    assert outcome.out.startswith("starter on people.csv: 48 images by gaps\n\nFindings\n")
    assert "What this audit cannot know" in outcome.out
    assert "a man" in outcome.out
    assert "warning" not in outcome.out
    assert "images without gaps: 4" in outcome.err


def test_json_and_files_are_of_one_report(run: Run, people: Path, tmp_path: Path) -> None:
    page, notes = tmp_path / "out.html", tmp_path / "out.md"
    words = ["--group", "side", "--label-column", "thing", "--debias-words", "cat=dog"]
    outcome = run("audit", people, *words, "--json", "-o", page, "-o", notes)
    assert outcome.status == 0
    found = json.loads(outcome.out)
    assert found["findings"]  # two photographs, two sides
    assert found["columns"][0]["debiased"]["directions"] == "words"
    assert "<svg" in page.read_text()
    assert "# starter on people.csv" in notes.read_text()
    assert run("audit", people, *words, "-o", notes).status == 0  # its own report is replaced


def test_lists_of_texts_come_from_files(run: Run, people: Path, tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("a red boat\n\n a man \n")
    (tmp_path / "c.txt").write_text("a doctor\n")
    words = ["--queries", tmp_path / "q.txt", "--concepts", tmp_path / "c.txt", "--swap", "man=boy"]
    found = json.loads(run("audit", people, "--group", "side", *words, "--json").out)
    assert found["queries"] == ["a red boat", "a man"]
    assert found["concepts"] == ["a doctor"]
    assert [one["swapped"] for one in found["counterfactuals"]] == ["a boy"]


def test_skipped_images_are_strict_only_if_asked(run: Run, people: Path) -> None:
    (people.parent / "3.png").write_bytes(b"rotten")
    assert run("audit", people, "--group", "side").status == 0
    outcome = run("audit", people, "--group", "side", "--strict")
    assert outcome.status == 1
    assert "3.png" in outcome.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--group", "gone"], "has no column gone; it has filepath, side"),
        (["--group", "number"], "the column number has no group with 20 images"),
        (["--group", "filepath"], "no group with 20 images"),
        (["--group", "side", "-o", "out.txt"], "ends in .html or .md"),
        (["--group", "side", "-o", "gone/out.md"], "there is no folder gone"),
        (["--group", "side", "--queries", "gone.txt"], "gone.txt cannot be read"),
        (["--group", "side", "--concepts", "{empty}"], "holds none of the concepts"),
        (["--group", "side", "--swap", "man"], 'as in "man=woman"'),
        (["--group", "side", "--templates", "nonsense"], "neither a template"),
        (["--group", "side", "--label-column", "gone"], "has no column gone"),
        (["--group", "side", "--groups", "gone.csv"], "is a table"),
        ([], "--group"),
    ],
)
def test_what_does_not_fit_is_one_line(
    run: Run, people: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    before = sorted(tmp_path.iterdir())
    outcome = run("audit", people, *(word.format(empty=tmp_path / "empty.txt") for word in words))
    assert outcome.status == 2
    assert outcome.out == ""
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_of_somebody_else_stays(run: Run, people: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.md").write_text("my notes")
    outcome = run("audit", people, "--group", "side", "-o", tmp_path / "mine.md")
    assert outcome.status == 2
    assert "is there already" in outcome.err
    assert (tmp_path / "mine.md").read_text() == "my notes"
    outcome = run("audit", people, "--group", "side", "-o", tmp_path / "mine.md", "--force")
    assert outcome.status == 0


def test_data_that_are_not_there_or_no_data(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "groups.csv").write_text("filepath,side\na.png,x\n")
    for words in (
        [tmp_path / "gone.csv"],
        [tmp_path / "empty"],
        [tmp_path / "empty", "--groups", tmp_path / "groups.csv"],
        [tmp_path / "groups.csv"],
    ):
        outcome = run("audit", *words, "--group", "side")
        assert outcome.status == 2
        assert outcome.err.startswith("clipkit")
        assert "Traceback" not in outcome.err
