from typing import Any

import pytest

from clipkit.pairs.captions import CaptionFile, captions_of, choose_captions, read_captions


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
    captions, passed_over = choose_captions([*files, _file("b.txt", b"never read")])
    assert captions == ("a cat",)
    assert passed_over == ["a.txt holds no caption", "a.caption is not UTF-8"]
    with pytest.raises(ValueError, match=r"^a\.txt holds no caption, a\.caption is not UTF-8$"):
        choose_captions(files[:2])
    with pytest.raises(ValueError, match=r"^$"):
        choose_captions([])
