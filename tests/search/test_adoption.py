"""A folder that was renamed keeps its index, and no other folder gets it."""

import shutil
import sqlite3
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


def _as_if_given_out_again(location: Path, folder: Path) -> None:
    """Let an index be of a folder with the number that another folder has now."""
    status = folder.stat()
    connection = sqlite3.connect(location / "catalog.sqlite")
    with connection:
        for name, value in (("device", status.st_dev), ("inode", status.st_ino)):
            connection.execute("UPDATE meta SET value = ? WHERE key = ?", (str(value), name))
    connection.close()


def test_a_new_folder_with_an_old_ones_number_gets_its_own_index(
    indexed: Path, encoder: FakeEncoder, tmp_path: Path
) -> None:
    """The system gives numbers out again: to new folders, and to the next disk plugged in."""
    location = default_location(indexed)
    away = indexed.rename(tmp_path / "away")
    new = tmp_path / "new"
    for number in range(3):
        save_picture(new / f"{number}.png", (number, 2, 3))
    save_picture(new / "red.png", (254, 0, 0))  # of the same name, and another file
    _as_if_given_out_again(location, new)
    report = PhotoLibrary.open(new, encoder).sync()
    assert (report.added, report.removed, report.missing) == (4, 0, 0)
    # The old one is there for when its folder is.
    away.rename(indexed)
    assert PhotoLibrary.open(indexed, encoder).sync().unchanged == 4


@pytest.mark.parametrize(("num_left", "is_adopted"), [(4, True), (2, True), (1, False)])
def test_a_renamed_folder_is_known_by_half_of_its_files(
    indexed: Path, num_left: int, is_adopted: bool
) -> None:
    new = indexed.rename(indexed.parent / "elsewhere")
    for path in sorted(new.rglob("*.png"))[num_left:]:
        save_picture(path, (1, 2, 3), size=9)
    assert PhotoLibrary.open(new).is_indexed == is_adopted


def test_only_a_sample_of_a_large_library_is_looked_at(
    photos: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(301):
        save_picture(photos / f"{number}.png", (number % 256, number // 256, 5))
    PhotoLibrary.open(photos, encoder).sync()
    new = photos.rename(photos.parent / "elsewhere")
    looked_at: list[Path] = []
    stat = Path.stat

    def counting(path: Path, **options: bool) -> object:
        if path.suffix == ".png":
            looked_at.append(path)
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", counting)
    assert PhotoLibrary.open(new).is_indexed
    assert len(looked_at) in range(90, 110)


def test_an_index_whose_disk_was_away_last_is_found_too(
    indexed: Path, encoder: FakeEncoder
) -> None:
    """The mount point was synced while nothing was mounted; then the disk came elsewhere."""
    disk = indexed.rename(indexed.parent / "disk")
    indexed.mkdir()
    assert PhotoLibrary.open(indexed, encoder).sync().missing == 4
    indexed.rmdir()
    assert PhotoLibrary.open(disk, encoder).sync().unchanged == 4
    assert len(encoder.encoded_images) == 4
