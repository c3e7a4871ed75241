import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from clipkit.inputs.folders import FolderScan, find_images
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


def _told(folder: Path, scan: FolderScan, place: CaptionPlace) -> tuple[ListedPairs, list[str]]:
    said: list[str] = []
    return open_captions_folder(folder, scan, place, say=said.append), said


def test_an_image_with_several_paths_is_one_pair_with_the_captions_of_all(write: Write) -> None:
    folder = write(
        {
            "z.png": picture(1),
            "z.txt": "a boat",
            "a.txt": "a red boat\na boat",
            "deep/b.txt": "at sea",
            "other.png": picture(1),  # a copy is a file of its own
            "other.txt": "another boat",
            "only.txt": "the caption lies beside the link alone",
            "real/c.png": picture(2),
        }
    )
    (folder / "a.png").symlink_to("z.png")
    (folder / "only.png").symlink_to("real/c.png")
    os.link(folder / "z.png", folder / "deep" / "b.png")
    expected = [
        (picture(1), ("at sea", "a red boat", "a boat")),
        (picture(1), ("another boat",)),
        (picture(2), ("the caption lies beside the link alone",)),
    ]

    source, said = _told(folder, find_images(folder), CaptionPlace(folder))

    assert contents(source) == expected
    assert source.skipped == []
    names = [source.local_name(row) for row in range(len(source))]
    assert names == ["deep/b.png", "other.png", "real/c.png"]
    (line,) = said
    assert "2 images have other paths, by links" in line
    assert "real/c.png = only.png" in line


def test_a_damaged_file_beside_a_good_one_is_told(write: Write) -> None:
    folder = write(
        {
            **{f"{number}.png": picture(number) for number in range(5)},
            **{f"{number}.txt": b"\xff" for number in range(4)},
            **{f"{number}.json": f'"image {number}"' for number in range(4)},
            "4.caption": "image 4",
        }
    )
    source, said = _told(folder, find_images(folder), CaptionPlace(folder))
    assert [captions for _, captions in contents(source)] == [
        (f"image {number}",) for number in range(5)
    ]
    assert said == [
        f"warning: {folder}: 4 caption files hold no caption, so another of the same name was "
        "read: 0.txt is not UTF-8; 1.txt is not UTF-8; 2.txt is not UTF-8; and 1 more"
    ]


def test_captions_may_have_a_folder_and_an_ending_of_their_own(write: Write) -> None:
    folder = write(
        {
            "images/trip/a.png": picture(1),
            "images/b.png": picture(2),
            "captions/trip/a.en.txt": "a boat",
            "captions/trip/a.txt": "ein Boot",
            "captions/gone.EN.TXT": "a cat",
        }
    )
    place = CaptionPlace(folder / "captions", (".en.txt",))
    source, said = _told(folder / "images", find_images(folder / "images"), place)
    assert contents(source) == [(picture(1), ("a boat",))]
    assert [str(error) for error in source.skipped] == [
        f"{folder}/images/b.png: has no captions: there is no b.en.txt in {folder}/captions",
        f"{folder}/captions/gone.EN.TXT: there is no picture of this name",
    ]
    assert said == []
