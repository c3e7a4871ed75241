"""Where an index lies."""

import os
import shutil
import unicodedata
from pathlib import Path
from typing import Literal

import platformdirs
import pytest

from clipkit.errors import LibraryBusyError, LibraryError
from clipkit.search.library import PhotoLibrary
from clipkit.search.location import (
    LibraryPlace,
    default_location,
    inner_location,
    libraries_home,
    move_index_inside,
)
from clipkit.search.store.local.writer import writer_lock
from tests.fakes import FakeEncoder


def test_the_environment_says_where_libraries_lie(clipkit_home: Path) -> None:
    assert libraries_home() == clipkit_home / "libraries"


def test_the_systems_place_is_used_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPKIT_HOME", "")
    expected = platformdirs.user_data_dir("clipkit", appauthor=False)
    assert libraries_home() == Path(expected) / "libraries"


def test_spellings_of_one_folder_share_a_location_and_others_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "one" / "photos"
    other = tmp_path / "two" / "photos"
    for folder in (photos, other):
        folder.mkdir(parents=True)
    (tmp_path / "link").symlink_to(photos)
    monkeypatch.chdir(photos)
    spellings = [photos, Path(), Path("../photos"), tmp_path / "link", photos / ".." / "photos"]
    assert len({default_location(spelling) for spelling in spellings}) == 1
    assert default_location(other) != default_location(photos)


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("Holiday 2024", "Holiday-2024-"),
        ("Größe/猫", "folder-"),
        ("..x" * 60, "x..x..x"),
        ("/", "folder-"),
    ],
)
def test_the_name_of_a_location_is_readable_and_safe(tmp_path: Path, name: str, start: str) -> None:
    location = default_location(tmp_path / name)
    assert location.name.startswith(start)
    assert len(os.fsencode(location.name)) <= 60
    assert location.name.isascii()


def test_a_folder_moved_with_its_index_answers_without_encoding_anything(
    photos: Path, tmp_path: Path
) -> None:
    PhotoLibrary.open(photos, FakeEncoder(), keep_here=True).sync()
    expected = PhotoLibrary.open(photos, FakeEncoder()).search("red")
    (tmp_path / "another disk").mkdir()
    moved = tmp_path / "another disk" / "images"
    photos.rename(moved)
    encoder = FakeEncoder()
    library = PhotoLibrary.open(moved, encoder)
    assert library.location == inner_location(moved)
    found = library.search("red")
    assert [hit.path for hit in found] == [moved / hit.path.relative_to(photos) for hit in expected]
    assert [hit.similarity for hit in found] == [hit.similarity for hit in expected]
    report = library.sync()
    assert (report.added, report.changed, report.moved, report.unchanged) == (0, 0, 0, 4)
    part = PhotoLibrary.open_nearest(moved / "trip", encoder)
    assert len(part.search("green")) == 2
    assert encoder.encoded_images == []
    assert not libraries_home().exists()


def test_an_index_in_the_users_data_is_taken_along(photos: Path, library: PhotoLibrary) -> None:
    library.sync()
    expected = library.search("red")
    encoder = FakeEncoder()
    inner = PhotoLibrary.open(photos, encoder, keep_here=True)
    report = inner.sync()
    assert report.unchanged == 4
    assert encoder.encoded_images == []
    assert inner.location == inner_location(photos)
    assert not default_location(photos).exists()
    assert inner.search("red") == expected
    assert PhotoLibrary.open(photos).location == inner.location
    assert {path.name for path in inner.location.iterdir()} >= {"catalog.sqlite", "vectors-1.f16"}


def test_an_index_is_taken_along_after_an_attempt_that_was_killed(
    photos: Path, library: PhotoLibrary
) -> None:
    library.sync()
    place = LibraryPlace(photos, inner_location(photos))
    unfinished = place.location.with_name(".clipkit.part")
    unfinished.mkdir()
    (unfinished / "catalog.sqlite").write_bytes(b"half a catalog")
    place.location.mkdir()
    (place.location / "writer.lock").touch()
    move_index_inside(place)
    assert len(PhotoLibrary.open(photos)) == 4
    assert not unfinished.exists()


def test_an_index_that_cannot_be_taken_along_stays(
    photos: Path, library: PhotoLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.sync()

    def fail(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(shutil, "copytree", fail)
    with pytest.raises(LibraryError, match=r"Read-only file system.*; it stays at "):
        move_index_inside(LibraryPlace(photos, inner_location(photos)))
    assert len(PhotoLibrary.open(photos)) == 4


def test_an_index_in_use_is_not_taken_along(photos: Path, library: PhotoLibrary) -> None:
    library.sync()
    place = LibraryPlace(photos, inner_location(photos))
    with (
        writer_lock(library.location / "writer.lock", photos),
        pytest.raises(LibraryBusyError),
    ):
        move_index_inside(place)
    assert library.is_indexed
    assert not place.location.exists()


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_file_is_known_however_its_letters_are_composed(
    tmp_path: Path, form: Literal["NFC", "NFD"]
) -> None:
    name = unicodedata.normalize(form, "é.jpg")
    place = LibraryPlace(tmp_path / "a", inner_location(tmp_path), prefix="a/")
    assert place.inner_paths(tmp_path / "a" / name) == {"a/\u00e9.jpg", "a/e\u0301.jpg"}
