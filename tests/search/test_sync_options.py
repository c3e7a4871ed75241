"""What a caller can ask of a sync, and what comes first of a search with filters."""

import os
from pathlib import Path
from typing import Any

import pytest

from clipkit.errors import InputError
from clipkit.search.library import PhotoLibrary
from clipkit.search.sync_options import SyncRules, read_sync_options
from tests.fakes import FakeEncoder, age_files, save_image


@pytest.fixture
def six(tmp_path: Path) -> Path:
    """Six images in two folders; spread they come in the order a f c e b d."""
    folder = tmp_path / "six"
    for number, name in enumerate("abcdef"):
        save_image(folder / ("early" if name < "d" else "late") / f"{name}.png", (number, 1, 1))
    return folder


def _encoded(folder: Path, **options: Any) -> list[str]:
    encoder = FakeEncoder()
    PhotoLibrary.open_nearest(folder, encoder).sync(**options)
    return encoder.encoded_images


def _names(letters: str) -> list[str]:
    return [f"{letter}.png" for letter in letters]


def test_without_options_all_is_as_last_time_and_spread() -> None:
    assert read_sync_options({}) == SyncRules(None, None, prune=False, order="spread")


def test_a_name_that_is_no_option_is_refused_with_those_that_are(library: PhotoLibrary) -> None:
    expected = (
        "sync has no option 'exlude'; did you mean exclude? Beside callbacks it takes exclude, "
        "include_hidden, prune, order, first, embeddings, crops"
    )
    with pytest.raises(InputError) as caught:
        library.sync(exlude=["trip"])  # type: ignore[call-arg]
    assert str(caught.value) == expected
    with pytest.raises(InputError, match="'x'; Beside callbacks"):
        read_sync_options({"x": 1})
    assert not library.is_indexed


@pytest.mark.parametrize("wrong", ["2024/*", None, ["2024"]])
def test_what_is_no_filters_cannot_come_first(library: PhotoLibrary, wrong: Any) -> None:
    with pytest.raises(InputError, match=r"first must be filters of a search, such as \{'path'"):
        library.sync(first=wrong)


def test_what_comes_first_is_checked_as_filters_are(library: PhotoLibrary) -> None:
    with pytest.raises(InputError, match="there is no filter 'pth'; did you mean path"):
        library.sync(first={"pth": "trip"})  # type: ignore[typeddict-unknown-key]


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ({}, "afcebd"),
        ({"path": "late"}, "fedacb"),
        ({"path": "late/*"}, "fedacb"),
        ({"not_path": "early"}, "fedacb"),
        ({"path": "early", "not_path": ["c.png", "x"]}, "abfced"),
        ({"path": "nowhere"}, "afcebd"),
        ({"after": "2030", "min_width": 9999, "camera": "Canon"}, "afcebd"),  # no path tells
        ({"path": "late", "camera": "Canon"}, "fedacb"),
    ],
)
def test_what_can_pass_the_filters_comes_first(
    six: Path, first: dict[str, Any], expected: str
) -> None:
    assert _encoded(six, first=first) == _names(expected)


def test_the_newest_of_those_that_can_pass_come_first(six: Path) -> None:
    for number, path in enumerate(sorted(six.rglob("*.png"))):
        os.utime(path, (10**9 + number, 10**9 + number))
    assert _encoded(six, order="newest", first={"path": "early"}) == _names("cbafed")


def test_filters_are_of_the_folder_that_is_searched(tmp_path: Path, six: Path) -> None:
    """As the globs of a search are: below the part of a library, not below the whole."""
    age_files(six)
    PhotoLibrary.open(tmp_path, FakeEncoder()).sync()
    for number, letter in enumerate("ghij"):
        save_image(six / "late" / letter / f"{letter}.png", (9, number, 9), size=3)
    encoder = FakeEncoder()
    part = PhotoLibrary.open_nearest(six / "late", encoder)
    assert part.indexed_folder == tmp_path
    part.sync(first={"path": "/h"})
    assert encoder.encoded_images == _names("hgij")  # without filters g i h j


def test_what_is_indexed_in_the_end_is_the_same(six: Path, tmp_path: Path) -> None:
    plain = PhotoLibrary.open(six, FakeEncoder(), location=tmp_path / "plain")
    turned = PhotoLibrary.open(six, FakeEncoder(), location=tmp_path / "turned")
    assert plain.sync().counts == turned.sync(first={"path": "late"}).counts
    assert turned.search("red", k=6) == plain.search("red", k=6)
    assert turned.search("red", path="late") == plain.search("red", path="late")
    assert turned.sync(first={"path": "early"}).has_news is False
