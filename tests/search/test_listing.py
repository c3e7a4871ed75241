"""A library's images without a query."""

import os
from datetime import datetime
from pathlib import Path

import pytest
from PIL import Image

from clipkit.errors import InputError, NotIndexedError
from clipkit.search.library import PhotoLibrary
from tests.fakes import FakeEncoder, save_image

TAKEN, IFD = 36867, 34665  # the EXIF tag of when a photograph was taken, and where it lies


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "home"))
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    for name, year in (("b", 2015), ("a", 2015), ("trip/c", 2020)):
        path = folder / f"{name}.png"
        save_image(path, (200, len(name), year % 100))
        os.utime(path, (datetime(year, 6, 1, 12).timestamp(),) * 2)
    exif = Image.Exif()
    exif.get_ifd(IFD)[TAKEN] = "2018:03:04 05:06:07"
    Image.new("RGB", (40, 30)).save(folder / "taken.jpg", exif=exif)  # a file of today
    return folder


def test_the_newest_is_first_by_its_own_date_or_that_of_its_file(folder: Path) -> None:
    library = PhotoLibrary.open(folder, FakeEncoder())
    library.sync()
    images = library.images()
    names = ["trip/c.png", "taken.jpg", "a.png", "b.png"]
    assert [image.path for image in images] == [folder / name for name in names]
    assert [image.taken_at for image in images] == [None, "2018-03-04T05:06:07", None, None]
    assert (images[1].width, images[1].height) == (40, 30)


def test_filters_and_parts_of_a_library_hold(folder: Path) -> None:
    PhotoLibrary.open(folder, FakeEncoder()).sync()
    library = PhotoLibrary.open_nearest(folder, FakeEncoder())
    assert [image.path.name for image in library.images(before="2016")] == ["a.png", "b.png"]
    part = PhotoLibrary.open_nearest(folder / "trip", FakeEncoder())
    assert [image.path for image in part.images()] == [folder / "trip" / "c.png"]


def test_a_listing_has_an_order_and_no_best(folder: Path) -> None:
    library = PhotoLibrary.open(folder, FakeEncoder())
    library.sync()
    names = [image.path.name for image in library.images(sort="name")]
    assert names == ["a.png", "b.png", "c.png", "taken.jpg"]
    assert library.images(sort="largest")[0].path.name == "taken.jpg"
    assert [image.path.name for image in library.images(sort="oldest", after="2018")] == [
        "taken.jpg", "c.png",
    ]  # fmt: skip
    with pytest.raises(InputError, match="sort must be one of newest, oldest, name, largest"):
        library.images(sort="best")  # type: ignore[arg-type]


def test_what_was_never_indexed_has_none(folder: Path) -> None:
    with pytest.raises(NotIndexedError, match="clipkit index"):
        PhotoLibrary.open(folder, FakeEncoder()).images()
