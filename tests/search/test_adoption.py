"""A folder that was renamed keeps its index, and no other folder gets it."""

import shutil
from pathlib import Path

import pytest

from clipkit.search.library import PhotoLibrary
from clipkit.search.location import default_location
from clipkit.search.lock import WriterLock
from tests.fakes import FakeEncoder, save_picture


@pytest.fixture
def indexed(photos: Path, encoder: FakeEncoder) -> Path:
    PhotoLibrary.open(photos, encoder).sync()
    return photos


@pytest.mark.parametrize("opened", [PhotoLibrary.open, PhotoLibrary.open_nearest])
def test_a_renamed_folder_keeps_its_index(
    indexed: Path, encoder: FakeEncoder, opened: object
) -> None:
    new = indexed.rename(indexed.parent / "elsewhere")
    library = opened(new, encoder)  # type: ignore[operator]
    assert len(library) == 4
    assert library.search("red", k=1)[0].path == new / "red.png"
    assert library.sync().unchanged == 4
    assert len(encoder.encoded_images) == 4
    # A new folder of the old name is a new folder.
    save_picture(indexed / "other.png", (1, 2, 3))
    assert not PhotoLibrary.open(indexed, encoder).is_indexed
    assert PhotoLibrary.open(indexed, encoder).sync().added == 1
    assert len(PhotoLibrary.open(new, encoder)) == 4
    # And it may be renamed again.
    again = new.rename(indexed.parent / "again")
    assert PhotoLibrary.open(again, encoder).sync().unchanged == 4


def test_a_copy_of_a_folder_gets_no_index(indexed: Path) -> None:
    copy = indexed.parent / "copy"
    shutil.copytree(indexed, copy)
    assert not PhotoLibrary.open(copy).is_indexed
    shutil.rmtree(indexed)  # gone, and still another folder
    assert not PhotoLibrary.open(copy).is_indexed


def test_an_index_in_use_is_left_where_it_is(indexed: Path) -> None:
    location = default_location(indexed)
    new = indexed.rename(indexed.parent / "elsewhere")
    with WriterLock(location / "writer.lock", new):
        assert not PhotoLibrary.open(new).is_indexed
    assert PhotoLibrary.open(new).is_indexed


def test_a_damaged_index_of_another_folder_does_no_harm(indexed: Path, tmp_path: Path) -> None:
    (default_location(indexed) / "catalog.sqlite").write_bytes(b"damaged" * 1000)
    save_picture(tmp_path / "new" / "a.png", (1, 2, 3))
    assert not PhotoLibrary.open(tmp_path / "new").is_indexed
