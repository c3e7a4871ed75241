"""clipkit evaluate: tables for people, JSON for programs, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Outcome

Run = Callable[..., Outcome]


@pytest.fixture
def folders(samples: list[Path], sample_labels: dict[str, str], tmp_path: Path) -> Path:
    """Six classes of the sample photographs that have one or two images."""
    for name in ("cat.jpg", "owl.jpg", "castle.jpg", "sheep.jpg"):
        place = tmp_path / "classes" / sample_labels[name]
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(samples[0].parent / name, place)
    return tmp_path / "classes"


def test_tables_are_for_people_and_notes_are_not_among_them(run: Run, folders: Path) -> None:
    outcome = run("evaluate", folders, "--templates", "photo", "--templates", "none")
    assert outcome.status == 0
    assert "starter on classes: zeroshot_classification of 4 images" in outcome.out
    assert "acc1" in outcome.out
    assert "templates, against the bare class name" in outcome.out
    assert "warning" not in outcome.out
    assert "4 images are few" in outcome.err


def test_json_is_one_object(run: Run, folders: Path, tmp_path: Path) -> None:
    diagram = tmp_path / "diagram.png"
    outcome = run("evaluate", folders, "--json", "--diagram", diagram)
    found = json.loads(outcome.out)
    assert found["task"] == "zeroshot_classification"
    assert found["clipkit"]["num_images"] == 4
    assert diagram.read_bytes()[:4] == b"\x89PNG"


def test_search_is_evaluated_by_queries(run: Run, folders: Path, tmp_path: Path) -> None:
    queries = tmp_path / "queries.json"
    path = next(folders.rglob("owl.jpg")).relative_to(folders)
    queries.write_text(json.dumps({"an owl": [str(path)]}))
    outcome = run("evaluate", folders, "--queries", queries, "--json")
    assert json.loads(outcome.out)["clipkit"]["queries"][0]["first_rank"] == 1


def test_skipped_images_are_strict_only_if_asked(run: Run, folders: Path) -> None:
    next(folders.rglob("owl.jpg")).write_bytes(b"rotten")
    assert run("evaluate", folders).status == 0
    outcome = run("evaluate", folders, "--strict")
    assert outcome.status == 1
    assert "owl.jpg" in outcome.err


@pytest.mark.parametrize(
    ("option", "name", "ours"),
    [("--calibrate", "c.json", b'{"clipkit_calibration"'), ("--diagram", "d.svg", b"<?xml")],
)
def test_a_file_of_another_program_stays_without_force(
    run: Run, folders: Path, tmp_path: Path, option: str, name: str, ours: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(b'{"cat.jpg": "cat"}')
    outcome = run("evaluate", folders, option, path)
    assert outcome.status == 2
    assert "--force" in outcome.err
    assert path.read_bytes() == b'{"cat.jpg": "cat"}'
    for words in (["--force"], []):  # then it is its own
        assert run("evaluate", folders, option, path, *words).status == 0
        assert path.read_bytes().startswith(ours)
    assert f"wrote {path}" in run("evaluate", folders, option, path).err


@pytest.mark.parametrize("option", ["--calibrate", "--diagram"])
def test_a_place_that_cannot_be_written_is_refused(
    run: Run, folders: Path, tmp_path: Path, option: str
) -> None:
    ending = ".json" if option == "--calibrate" else ".png"
    (tmp_path / f"folder{ending}").mkdir()
    for name in (f"folder{ending}", f"gone/file{ending}"):
        outcome = run("evaluate", folders, option, tmp_path / name)
        assert outcome.status == 2
        assert "cannot be written" in outcome.err
        assert outcome.out == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--diagram", "out.txt"], "ends in .png"),
        (["--calibrate", "out.txt"], "ends in .json"),
        (["--task", "retrieval", "--diagram", "out.png"], "have: leave --diagram out"),
        (["--templates", "nonsense"], "neither a template"),
        (["--queries", "gone.json"], "gone.json cannot be read"),
        (["--task", "search"], "give a file with queries"),
        (["--class-names", "gone.txt"], "gone.txt cannot be read"),
        (["--train", "gone"], "gone"),
    ],
)
def test_what_does_not_fit_is_one_line(
    run: Run, folders: Path, words: list[str], message: str
) -> None:
    outcome = run("evaluate", folders, *words)
    assert outcome.status == 2
    assert outcome.out == ""
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_a_folder_that_is_not_there_or_empty(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "gone", tmp_path / "empty"):
        outcome = run("evaluate", place)
        assert outcome.status == 2
        assert str(place) in outcome.err
