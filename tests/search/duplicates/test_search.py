"""The duplicates of a whole library; what makes a duplicate is tested beside this."""

import shutil
from pathlib import Path

import pytest

from clipkit.encoder.loading import load
from clipkit.errors import InputError, LibraryError
from clipkit.search.library import PhotoLibrary
from tests.conftest import SAMPLES
from tests.fakes import FakeEncoder
from tests.search.duplicates.drawn import camera_exif, page, save


def test_equal_files_are_found_without_a_model(photos: Path, encoder: FakeEncoder) -> None:
    shutil.copy(photos / "red.png", photos / "trip" / "copy.png")
    PhotoLibrary.open(photos, encoder).sync()
    report = PhotoLibrary.open(photos).duplicates(near=False)
    assert [[file.path for file in group.images] for group in report.groups] == [
        ["red.png", "trip/copy.png"]
    ]
    assert report.calibration is None


def test_a_part_of_a_library_names_its_images_from_there(
    photos: Path, encoder: FakeEncoder
) -> None:
    shutil.copy(photos / "red.png", photos / "trip" / "one.png")
    shutil.copy(photos / "red.png", photos / "trip" / "two.png")
    PhotoLibrary.open(photos, encoder).sync()
    (group,) = PhotoLibrary.open_nearest(photos / "trip").duplicates(near=False).groups
    assert [file.path for file in group.images] == ["one.png", "two.png"]


@pytest.mark.slow
def test_near_duplicates_of_real_images_are_found(tmp_path: Path) -> None:
    from PIL import Image

    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("cat", "castle", "owl", "hens", "dog", "cow", "crab", "panda"):
        shutil.copy(SAMPLES / f"{name}.jpg", photos)
    Image.open(SAMPLES / "cat.jpg").resize((300, 225)).save(photos / "small.jpg", quality=60)
    library = PhotoLibrary.open(photos, load())
    library.sync()
    (group,) = library.duplicates().groups
    assert group.kind == "near"
    assert [file.path for file in group.images] == ["cat.jpg", "small.jpg"]


def test_what_cannot_be_compared_is_said(photos: Path, encoder: FakeEncoder) -> None:
    with pytest.raises(LibraryError, match="has not been indexed"):
        PhotoLibrary.open(photos, encoder).duplicates()
    PhotoLibrary.open(photos, encoder).sync()
    with pytest.raises(InputError, match="threshold must be between 0 and 1, got 2"):
        PhotoLibrary.open(photos, encoder).duplicates(threshold=2)
    with pytest.raises(InputError, match="this needs a model"):
        PhotoLibrary.open(photos).duplicates()


def _near_groups(folder: Path) -> list[set[str]]:
    library = PhotoLibrary.open(folder, load())
    library.sync()
    return [{file.path for file in group.images} for group in library.duplicates().groups]


@pytest.mark.slow
def test_of_pages_on_one_layout_only_the_copy_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    for seed in range(8):
        save(folder / f"{seed}.png", page(seed))
    save(folder / "again.jpg", page(3), quality=60)
    assert _near_groups(folder) == [{"3.png", "again.jpg"}]


@pytest.mark.slow
def test_the_jpeg_beside_a_heic_is_no_spare_copy_of_it(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    from PIL import Image

    folder = tmp_path / "photos"
    photo = Image.open(SAMPLES / "castle.jpg").convert("RGB")
    exif = camera_exif(photo.size)
    save(folder / "IMG_1.jpg", photo, quality=90, exif=exif)
    heic = pillow_heif.from_pillow(photo)
    heic.save(folder / "IMG_1.heic", quality=90, exif=exif.tobytes())
    for name in ("cat", "dog", "owl", "cow"):
        shutil.copy(SAMPLES / f"{name}.jpg", folder)
    assert _near_groups(folder) == []
    # Under another name nothing says that they belong together.
    (folder / "IMG_1.heic").rename(folder / "web.heic")
    assert _near_groups(folder) == [{"IMG_1.jpg", "web.heic"}]
