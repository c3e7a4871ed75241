from typing import Any

import pytest

from clipkit.pairs.captions import captions_of, read_captions


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
    ],
)
def test_captions_are_read(content: bytes, suffix: str, captions: tuple[str, ...]) -> None:
    assert read_captions(content, suffix) == captions


@pytest.mark.parametrize(
    ("content", "suffix", "reason"),
    [
        (b"caf\xe9", ".txt", "is not UTF-8"),
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
