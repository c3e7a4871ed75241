"""Where an index lies."""

import os
from pathlib import Path

import platformdirs
import pytest

from clipkit.search.location import default_location, libraries_home


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
