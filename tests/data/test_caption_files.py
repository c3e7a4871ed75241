import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from clipkit.data.caption_files import (
    CaptionFile,
    CaptionLocation,
    captions_of,
    choose_captions,
    has_captions,
    open_captions_folder,
    read_captions,
)
from clipkit.data.listed_pairs import ListedPairs
from clipkit.inputs.folders import FolderScan, find_images
from clipkit.progress import Callbacks
from tests.data.conftest import contents, image, reasons


@pytest.mark.parametrize(
    ("content", "suffix", "captions"),
    [
        (b"a cat\n\n  a sleeping cat \r\na cat\n", ".txt", ("a cat", "a sleeping cat")),
        (b"\xef\xbb\xbfa cat", ".txt", ("a cat",)),
        ("one\u2028line".encode(), ".txt", ("one\u2028line",)),
        (b" \n ", ".txt", ()),
        (b'"a cat"', ".json", ("a cat",)),
        (b'["a cat", " ", "an animal", "a cat"]', ".json", ("a cat", "an animal")),
        # As img2dataset writes it:
        (b'{"caption": "a cat", "url": "http://a", "key": "0", "width": 9}', ".json", ("a cat",)),
        (b'{"caption": null, "title": "a cat"}', ".json", ("a cat",)),
        (b'{"captions": ["a cat", "an animal"]}', ".json", ("a cat", "an animal")),
        (b'{"text": "a cat"}', ".json", ("a cat",)),
        (b'{"width": 9}', ".json", ()),
        (b"null", ".json", ()),
        (b'{"caption": "", "captions": [], "text": "a cat"}', ".json", ("a cat",)),
        (b'{"caption": "a cat"}', ".en.json", ("a cat",)),
        ("une forêt\r\n".encode("utf-16"), ".txt", ("une forêt",)),  # Notepad's "Unicode"
        (b"1 2 3 4 5\na cat", ".txt", ("1 2 3 4 5", "a cat")),
        (b"7", ".txt", ("7",)),
    ],
)
def test_captions_are_read(content: bytes, suffix: str, captions: tuple[str, ...]) -> None:
    assert read_captions(content, suffix) == captions


@pytest.mark.parametrize(
    ("content", "suffix", "reason"),
    [
        (b"caf\xe9", ".txt", "is not UTF-8"),
        (b"\xff\xfea", ".txt", "is not UTF-16"),
        # Boxes and outlines as YOLO has them: class, then shares of width and height.
        (b"0 0.5 0.5 0.25 0.1\n12 .1 .2 .3 4e-05\n", ".txt", "holds boxes or outlines"),
        (b"0 0.1 0.1 0.9 0.1 0.9 0.9", ".txt", "holds boxes or outlines"),
        (b"{", ".json", "is not JSON: Expecting"),
        (b"[" * 100_000, ".json", "is not JSON: maximum recursion"),
        (b"7", ".json", "holds no text or list of texts: 7"),
        (b'{"caption": {"en": "a cat"}}', ".json", "holds no text or list of texts"),
        (b'["a cat", 7]', ".json", "holds no text or list of texts"),
        (rb'"\ud800"', ".json", "holds a caption that is not Unicode text"),
    ],
)
def test_what_is_no_caption_is_told(content: bytes, suffix: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_captions(content, suffix)


@pytest.mark.parametrize("value", [1, 1.5, True, {"caption": 1}, [None], [["a"]]])
def test_other_values_are_no_captions(value: Any) -> None:
    with pytest.raises(ValueError, match="holds no text"):
        captions_of(value)


def _file(name: str, content: bytes) -> CaptionFile:
    return CaptionFile(name, name[name.index(".") :], lambda: content)


def test_the_first_file_with_a_caption_is_taken() -> None:
    files = [_file("a.txt", b" \n"), _file("a.caption", b"\xff"), _file("a.json", b'"a cat"')]
    captions, skipped_files = choose_captions([*files, _file("b.txt", b"never read")])
    assert captions == ("a cat",)
    assert skipped_files == ["a.txt holds no caption", "a.caption is not UTF-8"]
    with pytest.raises(ValueError, match=r"^a\.txt holds no caption, a\.caption is not UTF-8$"):
        choose_captions(files[:2])
    with pytest.raises(ValueError, match=r"^$"):
        choose_captions([])


Write = Callable[[Mapping[str, bytes | str]], Path]


def _open(folder: Path) -> ListedPairs:
    return open_captions_folder(
        folder, find_images(folder), CaptionLocation(folder), callbacks=_SILENT
    )


def _unsaid(line: str) -> None:
    raise AssertionError(line)


_SILENT = Callbacks(say=_unsaid, warn=_unsaid)


def test_each_image_has_the_captions_beside_it(write: Write) -> None:
    folder = write(
        {
            "b.png": image(1),
            "b.txt": "a boat\na red boat\n",
            "deep/er/a.b.PNG": image(2),
            "deep/er/a.b.json": '{"caption": "a cat"}',
            # As img2dataset writes both: what a person changes is the text.
            "c.png": image(3),
            "c.json": '{"caption": "old"}',
            "c.txt": "new",
        }
    )
    source = _open(folder)
    assert contents(source) == [
        (image(1), ("a boat", "a red boat")),
        (image(3), ("new",)),
        (image(2), ("a cat",)),
    ]
    assert source.skipped == []
    assert source[2].name == str(folder / "deep/er/a.b.PNG")
    assert source.local_name(2) == "deep/er/a.b.PNG"
    assert source.class_names == ()


def test_what_is_no_pair_is_listed_with_its_reason(write: Write) -> None:
    folder = write(
        {
            "alone.png": image(1),
            "empty.png": image(2),
            "empty.txt": "\n",
            "odd.png": image(3),
            "odd.txt": b"\xff",
            "wrong.png": image(4),
            "wrong.json": "{",
            "gone.txt": "a boat",
            "deep/gone.json": '"a boat"',
            "good.png": image(5),
            "good.txt": "good",
            ".hidden/x.txt": "left out",
            "._good.txt": "left out",
        }
    )
    (folder / "link.jpg").symlink_to("nowhere.jpg")
    source = _open(folder)
    assert contents(source) == [(image(5), ("good",))]
    assert sorted(reasons(source)) == [
        "alone.png: has no captions: there is no alone.txt, alone.caption or alone.json beside it",
        "empty.png: empty.txt holds no caption",
        "gone.json: there is no image of this name",
        "gone.txt: there is no image of this name",
        "link.jpg: is a link that leads nowhere",
        "odd.png: odd.txt is not UTF-8",
        "wrong.png: wrong.json is not JSON: Expecting property name enclosed in double quotes: "
        "line 1 column 2 (char 1)",
    ]
    assert all(Path(error.path).parent.is_relative_to(folder) for error in source.skipped)


def test_endings_may_be_in_upper_case(write: Write) -> None:
    folder = write(
        {
            "A.JPG": image(1),
            "A.TXT": "a cat",
            "B.JPG": image(2),
            "B.JSON": '{"caption": "a dog"}',
            "C.JPG": image(3),
            "C.TXT": "new",
            "C.json": '"the text comes first"',
            "D.JPG": image(4),
            "D.txt": "the plain one comes first",
            "D.TXT": "old",
            "E.JPG": image(5),
            "E.JSON": "no text",
            "LOST.TXT": "a boat",
        }
    )
    assert has_captions(find_images(folder), CaptionLocation(folder))
    source = _open(folder)
    captions = [captions for _, (captions,) in contents(source)]
    assert captions == ["a cat", "a dog", "new", "the plain one comes first"]
    assert reasons(source) == [
        "E.JPG: E.JSON is not JSON: Expecting value: line 1 column 1 (char 0)",
        "LOST.TXT: there is no image of this name",
    ]


def test_captions_count_only_beside_an_image(write: Write) -> None:
    folder = write({"cats/a.png": image(1), "readme.txt": "hello"})
    assert not has_captions(find_images(folder), CaptionLocation(folder))
    write({"cats/a.json": "[]"})
    assert has_captions(find_images(folder), CaptionLocation(folder))


def test_the_fingerprint_is_that_of_the_listing(write: Write, tmp_path: Path) -> None:
    folder = write({"one/a.png": image(1), "one/a.txt": "a boat"})
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
    source = _open(write({"a.png": image(1), "a.txt": "a boat"}))
    with pytest.raises(IndexError):
        source[1]


def _told(folder: Path, scan: FolderScan, place: CaptionLocation) -> tuple[ListedPairs, list[str]]:
    told: list[str] = []
    callbacks = Callbacks(say=told.append, warn=lambda line: told.append(f"warning: {line}"))
    return open_captions_folder(folder, scan, place, callbacks=callbacks), told


def test_an_image_with_several_paths_is_one_pair_with_the_captions_of_all(write: Write) -> None:
    folder = write(
        {
            "z.png": image(1),
            "z.txt": "a boat",
            "a.txt": "a red boat\na boat",
            "deep/b.txt": "at sea",
            "other.png": image(1),  # a copy is a file of its own
            "other.txt": "another boat",
            "only.txt": "the caption lies beside the link alone",
            "real/c.png": image(2),
        }
    )
    (folder / "a.png").symlink_to("z.png")
    (folder / "only.png").symlink_to("real/c.png")
    os.link(folder / "z.png", folder / "deep" / "b.png")
    expected = [
        (image(1), ("at sea", "a red boat", "a boat")),
        (image(1), ("another boat",)),
        (image(2), ("the caption lies beside the link alone",)),
    ]

    source, said = _told(folder, find_images(folder), CaptionLocation(folder))

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
            **{f"{number}.png": image(number) for number in range(5)},
            **{f"{number}.txt": b"\xff" for number in range(4)},
            **{f"{number}.json": f'"image {number}"' for number in range(4)},
            "4.caption": "image 4",
        }
    )
    source, said = _told(folder, find_images(folder), CaptionLocation(folder))
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
            "images/trip/a.png": image(1),
            "images/b.png": image(2),
            "captions/trip/a.en.txt": "a boat",
            "captions/trip/a.txt": "ein Boot",
            "captions/gone.EN.TXT": "a cat",
        }
    )
    place = CaptionLocation(folder / "captions", (".en.txt",))
    source, said = _told(folder / "images", find_images(folder / "images"), place)
    assert contents(source) == [(image(1), ("a boat",))]
    assert [str(error) for error in source.skipped] == [
        f"{folder}/images/b.png: has no captions: there is no b.en.txt in {folder}/captions",
        f"{folder}/captions/gone.EN.TXT: there is no image of this name",
    ]
    assert said == []
