"""What EXIF data say of where a file comes from; data as cameras and programs write them."""

from pathlib import Path

import pytest
from PIL import Image

from clipkit.errors import ImageReadError
from clipkit.inputs.metadata import Provenance, read_provenance
from tests.search.duplicates.drawn import camera_exif, save

TAKEN = "2024:06:01 12:30:00"


def _saved(folder: Path, exif: Image.Exif, size: tuple[int, int] = (40, 30)) -> Provenance:
    return read_provenance(save(folder / "a.jpg", Image.new("RGB", size), exif=exif))


def test_a_file_as_a_camera_wrote_it(tmp_path: Path) -> None:
    found = _saved(tmp_path, camera_exif((40, 30)))
    assert (found.has_exif, found.is_from_camera, found.shot_at) == (True, True, TAKEN)


def test_a_file_of_another_size_or_changed_later_was_saved_again(tmp_path: Path) -> None:
    assert not _saved(tmp_path, camera_exif((4000, 3000))).is_from_camera
    assert not _saved(tmp_path, camera_exif((30, 40))).is_from_camera  # turned in its pixels
    later = camera_exif((40, 30), changed="2024:06:02 09:00:00")
    assert not _saved(tmp_path, later).is_from_camera
    assert _saved(tmp_path, later).has_exif


def test_turned_by_a_tag(tmp_path: Path) -> None:
    exif = camera_exif((40, 30))
    assert not _saved(tmp_path, exif).is_turned_by_tag
    exif[0x0112] = 6
    found = _saved(tmp_path, exif)
    assert (found.is_from_camera, found.is_turned_by_tag) == (True, True)


def test_fractions_of_a_second(tmp_path: Path) -> None:
    exif = camera_exif((40, 30))
    exif.get_ifd(0x8769)[0x9291] = "042"
    assert _saved(tmp_path, exif).shot_at_fraction == "042"


def test_nothing_is_known_of_a_file_that_says_nothing(tmp_path: Path) -> None:
    assert read_provenance(save(tmp_path / "a.png", Image.new("RGB", (9, 9)))) == Provenance()
    never_set = camera_exif((40, 30), taken="0000:00:00 00:00:00")
    assert _saved(tmp_path, never_set).shot_at is None


def test_a_raw_file_is_known_by_its_ending_and_no_image_is_an_error(tmp_path: Path) -> None:
    assert read_provenance(tmp_path / "a.CR2").is_raw
    with pytest.raises(ImageReadError, match="no such file"):
        read_provenance(tmp_path / "a.jpg")
