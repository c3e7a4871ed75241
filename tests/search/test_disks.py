"""Disks that are full or cannot be written to: what was committed is kept, and searched."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clipkit.errors import LibraryError
from clipkit.search.library import PhotoLibrary
from tests.fakes import FakeEncoder, age_files, save_image
from tests.full_disk import full_disk
from tests.search.timed_sync import sync_by

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("num_bytes", [0, 40, 100, 4096, 9000, 20000, 33000, 40000, 50000])
@pytest.mark.parametrize("is_new", [False, True])
def test_a_disk_that_fills_up_costs_nothing_that_was_committed(
    photos: Path, num_bytes: int, is_new: bool
) -> None:
    library = PhotoLibrary.open(photos, FakeEncoder())
    if not is_new:
        library.sync()
    num_before = len(library)
    for number in range(150):
        save_image(photos / f"{number:0100}.png", (number, 1, 255 - number))
    age_files(photos)
    now = iter(range(10**6))
    with pytest.raises(LibraryError) as caught, full_disk(num_bytes):
        sync_by(lambda: next(now) * 3600.0, library)
    assert str(photos) in str(caught.value) or str(library.location) in str(caught.value)
    assert "damaged" not in str(caught.value)
    assert "--rebuild" not in str(caught.value)
    num_kept = len(library)
    assert num_kept >= num_before
    if library.is_indexed:
        assert len(library.search("red", k=1000)) == num_kept
    encoder = FakeEncoder()
    again = PhotoLibrary.open(photos, encoder)
    assert again.sync().unchanged == num_kept
    assert len(encoder.encoded_images) == 154 - num_kept
    fresh = PhotoLibrary.open(photos, FakeEncoder(), location=photos.parent / "fresh")
    fresh.sync()
    assert again.search("red", k=1000) == fresh.search("red", k=1000)


def test_an_index_is_searched_on_a_disk_without_any_room(
    photos: Path, library: PhotoLibrary
) -> None:
    """Not even for what processes share beside the log of a catalog."""
    library.sync()
    expected = library.search("red")
    with full_disk(0):
        assert len(library) == 4
        assert library.search("red") == expected
        with pytest.raises(LibraryError, match=r"opened or written at .*: disk I/O error"):
            library.sync()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let this process read a folder's files and write none, also if it is root's."""
    opened = []
    for path in (folder, *folder.iterdir()):
        path.chmod(path.stat().st_mode & ~0o222 | 0o444)
    is_root = os.geteuid() == 0
    if is_root:
        for parent in (folder, *folder.parents):
            if not parent.stat().st_mode & 0o001:
                opened.append((parent, parent.stat().st_mode))
                parent.chmod(parent.stat().st_mode | 0o055)
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        for parent, mode in opened:
            parent.chmod(mode)
        folder.chmod(0o755)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs permissions as POSIX has them")
def test_a_read_only_index_whose_writer_was_killed_is_searched(
    photos: Path, library: PhotoLibrary, tmp_path: Path
) -> None:
    """What was committed last is still in the log beside the catalog."""
    library.sync()
    save_image(photos / "new.png", (255, 10, 0))
    reader = sqlite3.connect(library.location / "catalog.sqlite")  # the log is kept for it
    reader.execute("SELECT count(*) FROM images").fetchone()
    library.sync()
    copy = tmp_path / "copy"
    shutil.copytree(library.location, copy, ignore=shutil.ignore_patterns("*-shm"))
    reader.close()
    assert (copy / "catalog.sqlite-wal").stat().st_size
    expected = library.search("red")
    with read_only(copy):
        assert PhotoLibrary.open(photos, FakeEncoder(), location=copy).search("red") == expected
