from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from clipkit.inputs.folders import find_images
from clipkit.pairs.captions_folder import (
    CaptionPlace,
    has_captions,
    open_captions_folder,
)
from clipkit.pairs.listed_pairs import ListedPairs
from tests.pairs.conftest import contents, picture, reasons

Write = Callable[[Mapping[str, bytes | str]], Path]


def _open(folder: Path) -> ListedPairs:
    return open_captions_folder(folder, find_images(folder), CaptionPlace(folder), say=_unsaid)


def _unsaid(line: str) -> None:
    raise AssertionError(line)


def test_each_picture_has_the_captions_beside_it(write: Write) -> None:
    folder = write(
        {
            "b.png": picture(1),
            "b.txt": "a boat\na red boat\n",
            "deep/er/a.b.PNG": picture(2),
            "deep/er/a.b.json": '{"caption": "a cat"}',
            # As img2dataset writes both: what a person changes is the text.
            "c.png": picture(3),
            "c.json": '{"caption": "old"}',
            "c.txt": "new",
        }
    )
    source = _open(folder)
    assert contents(source) == [
        (picture(1), ("a boat", "a red boat")),
        (picture(3), ("new",)),
        (picture(2), ("a cat",)),
    ]
    assert source.skipped == []
    assert source[2].name == str(folder / "deep/er/a.b.PNG")
    assert source.local_name(2) == "deep/er/a.b.PNG"
    assert source.class_names == ()


def test_what_is_no_pair_is_listed_with_its_reason(write: Write) -> None:
    folder = write(
        {
            "alone.png": picture(1),
            "empty.png": picture(2),
            "empty.txt": "\n",
            "odd.png": picture(3),
            "odd.txt": b"\xff",
            "wrong.png": picture(4),
            "wrong.json": "{",
            "gone.txt": "a boat",
            "deep/gone.json": '"a boat"',
            "good.png": picture(5),
            "good.txt": "good",
            ".hidden/x.txt": "left out",
            "._good.txt": "left out",
        }
    )
    (folder / "link.jpg").symlink_to("nowhere.jpg")
    source = _open(folder)
    assert contents(source) == [(picture(5), ("good",))]
    assert sorted(reasons(source)) == [
        "alone.png: has no captions: there is no alone.txt, alone.caption or alone.json beside it",
        "empty.png: empty.txt holds no caption",
        "gone.json: there is no picture of this name",
        "gone.txt: there is no picture of this name",
        "link.jpg: is a link that leads nowhere",
        "odd.png: odd.txt is not UTF-8",
        "wrong.png: wrong.json is not JSON: Expecting property name enclosed in double quotes: "
        "line 1 column 2 (char 1)",
    ]
    assert all(Path(error.path).parent.is_relative_to(folder) for error in source.skipped)


def test_endings_may_be_in_upper_case(write: Write) -> None:
    folder = write(
        {
            "A.JPG": picture(1),
            "A.TXT": "a cat",
            "B.JPG": picture(2),
            "B.JSON": '{"caption": "a dog"}',
            "C.JPG": picture(3),
            "C.TXT": "new",
            "C.json": '"the text comes first"',
            "D.JPG": picture(4),
            "D.txt": "the plain one comes first",
            "D.TXT": "old",
            "E.JPG": picture(5),
            "E.JSON": "no text",
            "LOST.TXT": "a boat",
        }
    )
    assert has_captions(find_images(folder), CaptionPlace(folder))
    source = _open(folder)
    captions = [captions for _, (captions,) in contents(source)]
    assert captions == ["a cat", "a dog", "new", "the plain one comes first"]
    assert reasons(source) == [
        "E.JPG: E.JSON is not JSON: Expecting value: line 1 column 1 (char 0)",
        "LOST.TXT: there is no picture of this name",
    ]


def test_captions_count_only_beside_a_picture(write: Write) -> None:
    folder = write({"cats/a.png": picture(1), "readme.txt": "hello"})
    assert not has_captions(find_images(folder), CaptionPlace(folder))
    write({"cats/a.json": "[]"})
    assert has_captions(find_images(folder), CaptionPlace(folder))


def test_the_fingerprint_is_that_of_the_listing(write: Write, tmp_path: Path) -> None:
    folder = write({"one/a.png": picture(1), "one/a.txt": "a boat"})
    before = _open(folder / "one").fingerprint
    moved = (folder / "one").rename(folder / "two")
    assert _open(moved).fingerprint == before
    (moved / "a.txt").write_text("another boat")
    assert _open(moved).fingerprint != before
    (moved / "a.txt").write_text("a boat")
    (moved / "a.png").rename(moved / "b.png")
    (moved / "a.txt").rename(moved / "b.txt")
    assert _open(moved).fingerprint != before


def test_a_row_that_is_not_there_ends_a_loop(write: Write) -> None:
    source = _open(write({"a.png": picture(1), "a.txt": "a boat"}))
    with pytest.raises(IndexError):
        source[1]
