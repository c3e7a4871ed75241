"""Data URLs: what is read, and what is refused without a look at what it names."""

import base64

import pytest

from clipkit.errors import InputError
from clipkit.server.image_data import read_image

BYTES = bytes(range(256))
TEXT = base64.b64encode(BYTES).decode("ascii")


@pytest.mark.parametrize(
    "head", ["data:image/jpeg;base64,", "data:;base64,", "DATA:image/png;Base64,"]
)
def test_the_bytes_of_a_data_url_are_read(head: str) -> None:
    assert read_image(head + TEXT) == BYTES


def test_lines_of_base64_are_read() -> None:
    wrapped = "\n".join(TEXT[start : start + 64] for start in range(0, len(TEXT), 64))
    assert read_image(f"data:image/jpeg;base64,{wrapped}") == BYTES


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("http://127.0.0.1:1/a.jpg", "never followed"),
        ("file:///etc/passwd", "never followed"),
        ("/etc/passwd", "never followed"),
        ("../cat.jpg", "never followed"),
        ("cat.jpg", "it is none"),
        ("", "it is none"),
        ("data:image/jpeg,abc", "must be in base64"),
        ("data:image/jpeg;base64,", "is empty"),
        ("data:image/jpeg;base64,====", "damaged or cut off"),
        ("data:image/jpeg;base64,ab_-", "damaged or cut off"),
        ("data:image/jpeg;base64,\u00e9", "damaged or cut off"),
        ("data:" + "a" * 200 + ";base64,AAAA", "it is none"),
        ("data:image/jpeg;base64\ud800,AAAA", "it is none"),
    ],
)
def test_anything_else_is_refused_with_what_would_be_right(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read_image(text)
    assert str(caught.value).isascii()
