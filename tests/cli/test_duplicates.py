"""``clipkit duplicates``, with a fake encoder, and a stand-in for what the library finds."""

import argparse
import json
import os
from pathlib import Path

import pytest

from clipkit.cli import duplicates
from clipkit.errors import ImageReadError, LibraryBusyError
from clipkit.search.duplicates.groups import DuplicateGroup, DuplicateReport
from clipkit.search.library import PhotoLibrary
from clipkit.search.store.records import ImageFile
from tests.fakes import FakeEncoder, save_image

Captured = pytest.CaptureFixture[str]

BEACH = ImageFile("trip/beach.jpg", b"1", 2_500_000, 4000, 3000)
BEACH_AGAIN = ImageFile("beach.jpg", b"1", 2_500_000, 4000, 3000)
CAT = ImageFile("cat.png", b"2", 900, 20, 10)
SMALL_CAT = ImageFile('a\n"cat".png', b"3", 500, 10, 5)
ODD_CAT = ImageFile(os.fsdecode(b"c\xff.png"), b"4", 400, None, None)
REPORT = DuplicateReport(
    [
        DuplicateGroup("exact", (BEACH_AGAIN, BEACH), 1.0),
        DuplicateGroup("near", (CAT, SMALL_CAT, ODD_CAT), 0.87654321),
    ]
)


class Found:
    """Stands in for `PhotoLibrary.duplicates` and remembers how it was called."""

    def __init__(self) -> None:
        self.report = REPORT
        self.calls: list[tuple[bool, float | None]] = []
        self.error: BaseException | None = None

    def __call__(
        self, *, find_near: bool = True, threshold: float | None = None, progress: object = None
    ) -> DuplicateReport:
        """Return the report."""
        self.calls.append((find_near, threshold))
        if self.error:
            raise self.error
        return self.report


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> Found:
    stand_in = Found()
    monkeypatch.setattr(PhotoLibrary, "duplicates", stand_in, raising=False)
    # Its files are not there; that they are looked at is tested on real ones.
    monkeypatch.setattr(duplicates, "still_there", lambda group, folder: group)
    return stand_in


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fake = FakeEncoder()
    monkeypatch.setattr(duplicates, "load_encoder", lambda arguments: fake)
    monkeypatch.chdir(tmp_path)
    save_image(tmp_path / "photos" / "red.png", (255, 0, 0))
    return tmp_path / "photos"


def _run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    duplicates.add_parser(parser.add_subparsers())
    return duplicates.run(parser.parse_args(["duplicates", *words]))


def test_groups_are_printed_best_first(capsys: Captured) -> None:
    assert _run("photos") == 0
    captured = capsys.readouterr()
    assert captured.out == (
        "exact: 2 files with the same bytes\n"
        'best\t4000x3000\t2500000\t"photos/beach.jpg"\n'
        '\t4000x3000\t2500000\t"photos/trip/beach.jpg"\n'
        "\n"
        "near: 3 images, similarity at least 0.877\n"
        'best\t20x10\t900\t"photos/cat.png"\n'
        '\t10x5\t500\t"photos/a\\n\\"cat\\".png"\n'
        '\t?\t400\t"photos/c\\udcff.png"\n'
    )
    # 2 500 000 + 500 + 400 bytes
    assert captured.err == "groups: 2, spare copies: 3, together 2.5 MB; nothing was deleted\n"


def test_json_is_one_object_a_group_and_line(capsys: Captured) -> None:
    assert _run("photos", "--json") == 0
    exact, near = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert exact == {
        "kind": "exact",
        "similarity": 1.0,
        "best": "photos/beach.jpg",
        "images": [
            {"path": "photos/beach.jpg", "width": 4000, "height": 3000, "bytes": 2500000},
            {"path": "photos/trip/beach.jpg", "width": 4000, "height": 3000, "bytes": 2500000},
        ],
    }
    assert (near["kind"], near["best"], near["similarity"]) == ("near", "photos/cat.png", 0.876543)
    assert [image["width"] for image in near["images"]] == [20, 10, None]
    assert os.fsencode(near["images"][2]["path"]) == b"photos/c\xff.png"


def test_paths_alone_are_those_of_the_spare_copies(
    found: Found, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    found.report = DuplicateReport([DuplicateGroup("near", (CAT, SMALL_CAT, BEACH), 0.9)])
    assert _run("photos", "-0") == 0
    assert capsys.readouterr().out == 'photos/a\n"cat".png\0photos/trip/beach.jpg\0'
    assert _run("photos", "-f") == 0
    assert capsys.readouterr().out == 'photos/a\n"cat".png\nphotos/trip/beach.jpg\n'
    monkeypatch.chdir(photos)
    assert _run("-0") == 0
    assert capsys.readouterr().out == './a\n"cat".png\0./trip/beach.jpg\0'


def test_the_options_reach_the_library(found: Found) -> None:
    _run("photos")
    _run("photos", "--exact")
    _run("photos", "--threshold", "0.9")
    assert found.calls == [(True, None), (False, None), (True, 0.9)]


@pytest.mark.parametrize("threshold", ["0", "1.01", "-1", "nan", "much"])
def test_a_threshold_is_a_likeness(threshold: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        _run("photos", "--threshold", threshold)
    assert "--threshold" in capsys.readouterr().err


def test_without_duplicates_the_status_is_1(found: Found, capsys: Captured) -> None:
    found.report = DuplicateReport([])
    assert _run("photos") == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "no duplicates found in photos\n")


def test_what_was_skipped_is_told_and_strict_minds(
    found: Found, photos: Path, capsys: Captured
) -> None:
    (photos / "bad.png").write_bytes(b"no image")
    found.report = DuplicateReport(REPORT.groups, [ImageReadError("gone.png", "no such file")])
    assert _run("photos") == 0
    errors = capsys.readouterr().err
    assert "2 images skipped:" in errors
    assert "bad.png" in errors and "gone.png: no such file" in errors
    assert _run("photos", "--strict") == 1


def test_new_images_are_indexed_first_unless_told_not_to(photos: Path) -> None:
    _run("photos")
    assert len(PhotoLibrary.open(photos)) == 1
    save_image(photos / "blue.png", (0, 0, 255))
    _run("photos", "-n")
    assert len(PhotoLibrary.open(photos)) == 1
    _run("photos")
    assert len(PhotoLibrary.open(photos)) == 2


def test_a_skipped_file_is_told_of_once(photos: Path, capsys: Captured) -> None:
    (photos / "broken.png").write_bytes(b"no image")
    for is_told in (True, False):
        _run("photos")
        assert ("broken.png" in capsys.readouterr().err) == is_told
    assert _run("photos", "--strict") == 1


def test_while_another_process_indexes_what_is_there_is_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def busy(*_: object, **__: object) -> None:
        raise LibraryBusyError("busy")

    with monkeypatch.context() as patch, pytest.raises(LibraryBusyError):
        patch.setattr(PhotoLibrary, "sync", busy)
        _run("photos")
    _run("photos")
    capsys.readouterr()
    monkeypatch.setattr(PhotoLibrary, "sync", busy)
    assert _run("photos") == 0
    assert "another process is indexing photos" in capsys.readouterr().err


def test_ctrl_c_is_polite(found: Found, capsys: Captured) -> None:
    found.error = KeyboardInterrupt()
    assert _run("photos") == 130
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("interrupted: what is indexed so far is kept")
