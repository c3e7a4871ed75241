"""The duplicates of a whole library; what makes a duplicate is tested beside this."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from clipkit.embeddings import normalize_rows
from clipkit.encoder.loading import load
from clipkit.errors import InputError, LibraryError
from clipkit.search.duplicates.calibration import DuplicateCalibration
from clipkit.search.duplicates.search import find_near_groups
from clipkit.search.library import PhotoLibrary
from clipkit.search.store.records import ImageFile
from tests.conftest import SAMPLES
from tests.fakes import FakeEncoder, save_image
from tests.search.duplicates.drawn import camera_exif, page, save

THRESHOLDS = DuplicateCalibration(
    cosine=0.9, similarity=0.8, num_images=1, copies_found=1.0, others_found=0.0
)


def _file(path: str, width: int = 10) -> ImageFile:
    return ImageFile(path, None, 100, width, 10)


def test_equal_files_are_found_without_a_model(photos: Path, encoder: FakeEncoder) -> None:
    shutil.copy(photos / "red.png", photos / "trip" / "copy.png")
    PhotoLibrary.open(photos, encoder).sync()
    report = PhotoLibrary.open(photos).duplicates(find_near=False)
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
    (group,) = PhotoLibrary.open_nearest(photos / "trip").duplicates(find_near=False).groups
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


def test_only_images_near_another_are_read_and_bad_ones_are_told(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.png", "b.png", "c.png", "alone.png")]
    save_image(paths[0], (9, 9, 9))
    paths[1].write_bytes(b"no image")
    save_image(paths[2], (9, 9, 9))
    embeddings = normalize_rows([[1, 0], [1, 0], [1, 0], [0, 1]])  # and alone.png is not there
    groups, skipped = find_near_groups(
        [_file(path.name) for path in paths], paths, embeddings, THRESHOLDS
    )
    assert groups == []  # a plain colour has no detail to compare
    assert [error.path for error in skipped] == [str(paths[1])]


def test_a_copy_of_a_photograph_is_found_also_behind_a_bad_file(
    samples: list[Path], tmp_path: Path
) -> None:
    paths = [tmp_path / "gone.jpg", samples[0], samples[1], samples[0]]
    files = [_file("gone.jpg"), _file("a", width=8), _file("b"), _file("c", width=9)]
    embeddings = np.full((4, 4), 0.5, dtype=np.float16)
    groups, skipped = find_near_groups(files, paths, embeddings, THRESHOLDS)
    assert [[file.path for file in group.images] for group in groups] == [["c", "a"]]
    assert [error.path for error in skipped] == [str(paths[0])]
