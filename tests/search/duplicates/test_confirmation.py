"""Which pairs are confirmed, and that the work is bounded."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipkit.inputs.metadata import Provenance
from clipkit.search.duplicates.clustering import Pairs
from clipkit.search.duplicates.confirmation import (
    Confirmation,
    are_companions,
    are_other_shots,
)
from clipkit.search.store.records import ImageFile
from tests.conftest import SAMPLES
from tests.search.duplicates.drawn import camera_exif, save

TAKEN = "2024-06-01T12:00:00"
SHOT_AT = "2024:06:01 12:00:00"  # the same as EXIF has it


def _all_pairs(number: int) -> Pairs:
    first, second = np.array(list(itertools.combinations(range(number), 2))).T
    return Pairs(first, second, np.linspace(1, 0.9, len(first), dtype=np.float32))


def _confirmed(paths: dict[str, Path], taken_at: str | None = None) -> list[tuple[int, int]]:
    files = [ImageFile(name, None, 1, 1, 1, taken_at=taken_at) for name in paths]
    found = Confirmation(paths)(files, _all_pairs(len(files)))
    return sorted(zip(found.first.tolist(), found.second.tolist(), strict=True))


def test_a_raw_file_and_its_jpeg_are_kept_apart_and_a_copy_is_not(tmp_path: Path) -> None:
    photo = Image.open(SAMPLES / "castle.jpg").convert("RGB")
    # A stand-in for what a RAW file decodes to: what is asked of it is its name.
    paths = {
        "IMG_1.CR2": save(tmp_path / "raw.jpg", photo),
        "IMG_1.JPG": save(tmp_path / "b.jpg", photo, quality=60),
        "web.jpg": save(tmp_path / "c.jpg", photo, quality=50),
    }
    assert _confirmed(paths, "2024-06-01T12:00:00") == [(0, 2), (1, 2)]


def test_frames_that_were_taken_at_other_times_are_kept_apart(tmp_path: Path) -> None:
    photo = Image.open(SAMPLES / "castle.jpg").convert("RGB")
    paths: dict[str, Path] = {}
    for second in (1, 1, 2):
        exif = camera_exif(photo.size, taken=f"2024:06:01 12:00:0{second}")
        name = f"{len(paths)}.jpg"
        paths[name] = save(tmp_path / name, photo, quality=60 + len(paths), exif=exif)
    assert _confirmed(paths) == [(0, 1)]


def test_what_cannot_be_read_is_told_once_and_is_no_copy(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    paths = {"a": SAMPLES / "cat.jpg", "bad": tmp_path / "bad.jpg", "c": SAMPLES / "cat.jpg"}
    files = [ImageFile(name, None, 1, 1, 1) for name in paths]
    confirm = Confirmation(paths)
    found = confirm(files, _all_pairs(3))
    assert (found.first.tolist(), found.second.tolist()) == ([0], [2])
    assert [error.path for error in confirm.skipped] == [str(tmp_path / "bad.jpg")]


def test_after_eight_that_are_no_copies_an_image_is_compared_no_further(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []

    def never(self: Confirmation, first: ImageFile, second: ImageFile) -> bool:
        asked.append(int(second.path))
        return False

    monkeypatch.setattr(Confirmation, "_is_copy", never)
    files = [ImageFile(str(number), None, 1, 1, 1) for number in range(40)]
    alone = Pairs(
        np.zeros(39, dtype=np.intp), np.arange(1, 40), np.linspace(0.9, 1, 39, dtype=np.float32)
    )
    assert len(Confirmation({})(files, alone).first) == 0
    assert asked == [39, 38, 37, 36, 35, 34, 33, 32]  # the most alike


def test_of_hundreds_of_copies_each_is_compared_with_a_limited_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[int, int]] = []

    def always(self: Confirmation, first: ImageFile, second: ImageFile) -> bool:
        asked.append((int(first.path), int(second.path)))
        return True

    monkeypatch.setattr(Confirmation, "_is_copy", always)
    files = [ImageFile(str(number), None, 1, 1, 1) for number in range(200)]
    found = Confirmation({})(files, _all_pairs(200))
    assert len(asked) == len(found.first) <= 200 * 32 / 2  # of 19 900
    assert max(np.unique(asked, return_counts=True)[1]) == 32


# Companions: two files of one shot


def _shot(path: str, taken_at: str | None) -> ImageFile:
    return ImageFile(path, None, 1, 1, 1, taken_at=taken_at)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("IMG_1.CR2", "IMG_1.JPG"),
        ("img_1.cr2", "IMG_1.JPG"),
        ("raw/DSC01.ARW", "jpg/DSC01.jpg"),
        ("IMG_1.HEIC", "IMG_1.JPG"),
        ("IMG_1.CR2", "IMG_1.CR2.jpg"),
        ("IMG_1.CR2", "IMG_1-edited.jpg"),
        ("IMG_1.NEF", "exported/IMG_1_01.tif"),
        ("IMG_1.CR2", "IMG_1.DNG"),
    ],
)
def test_a_raw_file_and_what_was_made_of_it_belong_together(first: str, second: str) -> None:
    assert are_companions(_shot(first, TAKEN), _shot(second, TAKEN))
    assert are_companions(_shot(second, TAKEN), _shot(first, TAKEN))
    assert not are_companions(_shot(first, TAKEN), _shot(second, "2024-06-01T12:00:01"))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("IMG_1.CR2", "IMG_10.JPG"),
        ("IMG_1.CR2", "beach.jpg"),
        ("IMG_1.JPG", "IMG_1.PNG"),  # neither has what the other lacks
        ("IMG_1.JPG", "copy/IMG_1.JPG"),
        ("a/IMG_1.CR2", "b/IMG_1.CR2"),
    ],
)
def test_files_of_other_names_or_formats_do_not_belong_together(first: str, second: str) -> None:
    assert not are_companions(_shot(first, TAKEN), _shot(second, TAKEN))


def test_where_the_time_is_not_known_companions_lie_in_one_folder() -> None:
    assert are_companions(_shot("a/IMG_1.CR2", None), _shot("a/IMG_1.JPG", TAKEN))
    assert not are_companions(_shot("a/IMG_1.CR2", None), _shot("b/IMG_1.JPG", TAKEN))


# Other shots: frames that were taken at other times


@pytest.mark.parametrize(
    ("other", "are_others"),
    [
        (SHOT_AT, False),
        ("2024:06:01 12:00:01", True),
        ("2024:06:01 14:00:00", False),  # one time in two zones
        ("2024:06:01 06:30:00", False),
        ("2024:06:01 14:00:01", True),
        ("2024:06:03 12:00:00", True),  # further apart than any two zones
        ("not a time", False),
        (None, False),
    ],
)
def test_other_times_are_other_shots(other: str | None, are_others: bool) -> None:
    pair = Provenance(shot_at=SHOT_AT), Provenance(shot_at=other)
    assert are_other_shots(*pair) is are_others
    assert are_other_shots(*reversed(pair)) is are_others


@pytest.mark.parametrize(
    ("first", "second", "are_others"),
    [("12", "13", True), ("5", "500", False), ("12", None, False), (None, None, False)],
)
def test_fractions_tell_the_frames_of_one_second_apart(
    first: str | None, second: str | None, are_others: bool
) -> None:
    pair = [Provenance(shot_at=SHOT_AT, shot_at_fraction=part) for part in (first, second)]
    assert are_other_shots(*pair) is are_others
