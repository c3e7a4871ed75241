"""Which pairs are confirmed, and that the work is bounded."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipkit.search.duplicates import confirmation as module
from clipkit.search.duplicates.clustering import Pairs
from clipkit.search.duplicates.confirmation import Confirmation
from clipkit.search.store.records import ImageFile
from tests.conftest import SAMPLES
from tests.search.duplicates.drawn import camera_exif, save


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

    monkeypatch.setattr(module.Confirmation, "_is_copy", never)
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

    monkeypatch.setattr(module.Confirmation, "_is_copy", always)
    files = [ImageFile(str(number), None, 1, 1, 1) for number in range(200)]
    found = Confirmation({})(files, _all_pairs(200))
    assert len(asked) == len(found.first) <= 200 * 32 / 2  # of 19 900
    assert max(np.unique(asked, return_counts=True)[1]) == 32
