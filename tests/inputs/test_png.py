"""PNG files with more text than Pillow takes: their pixels are read, their texts are not."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from clipkit.inputs.images import read_image
from clipkit.inputs.metadata import read_metadata
from clipkit.inputs.png import png_chunks, without_long_texts

Encode = Callable[..., bytes]
MEGABYTES = np.random.default_rng(0).bytes(1_100_000).hex().encode()  # 2.2 MB, 1.1 packed


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


LONG = {
    "tEXt": chunk(b"tEXt", b"workflow\0" + MEGABYTES),
    "zTXt": chunk(b"zTXt", b"workflow\0\0" + zlib.compress(MEGABYTES)),
    "zTXt bomb": chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(20_000_000), 9)),
    "iTXt": chunk(b"iTXt", b"workflow\0\0\0en\0\0" + MEGABYTES),
    "packed iTXt": chunk(b"iTXt", b"workflow\0\1\0en\0\0" + zlib.compress(MEGABYTES)),
    "iCCP": chunk(b"iCCP", b"profile\0\0" + zlib.compress(MEGABYTES)),
    "many": 70 * chunk(b"tEXt", b"part\0" + bytes(65 for _ in range(1_000_000))),
    "damaged": chunk(b"zTXt", b"a\0\0not packed at all"),
}


@pytest.mark.parametrize("kind", LONG)
@pytest.mark.parametrize("behind", [False, True])
def test_pixels_are_read_and_text_is_skipped(
    kind: str, behind: bool, encode: Encode, noise: NDArray[np.uint8]
) -> None:
    png = encode(noise, "PNG")
    place = len(png) - 12 if behind else 33  # before the end or behind the header
    data = png[:place] + LONG[kind] + png[place:]
    assert np.array_equal(np.asarray(read_image(data).pixels), noise)
    limits = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    assert limits == (1 << 20, 64 << 20)  # Pillow is as it was


def test_pillow_refuses_such_files(encode: Encode, noise: NDArray[np.uint8]) -> None:
    png = encode(noise, "PNG")
    for kind in ("zTXt", "packed iTXt", "iCCP", "many"):
        with pytest.raises(ValueError, match=r"too large|[Tt]oo much memory"):
            Image.open(io.BytesIO(png[:33] + LONG[kind] + png[33:]))


def test_what_else_the_file_says_is_still_read(
    tmp_path: Path, encode: Encode, noise: NDArray[np.uint8], exif: Callable[[int], bytes]
) -> None:
    plain = encode(noise, "PNG")
    turned = chunk(b"eXIf", exif(6).removeprefix(b"Exif\0\0"))
    path = tmp_path / "generated.png"
    for data in (
        plain[:33] + LONG["packed iTXt"] + turned + plain[33:],
        plain[:33] + LONG["zTXt"] + plain[33:-12] + LONG["zTXt"] + turned + plain[-12:],
    ):
        path.write_bytes(data)
        details = read_metadata(path)
        assert (details.width, details.height) == (40, 56)
        assert np.array_equal(np.asarray(read_image(path).pixels), np.rot90(noise, -1))


def test_a_cut_off_png_with_long_text_is_refused(encode: Encode, noise: NDArray[np.uint8]) -> None:
    png = encode(noise, "PNG")
    data = png[:33] + LONG["packed iTXt"] + png[33:]
    view = without_long_texts(io.BytesIO(data[:-500]))
    assert view.read() == png[:-500]
    assert without_long_texts(io.BytesIO(data[:200_000])).read() == png[:33]


def test_the_view_is_the_file_without_the_texts(encode: Encode, noise: NDArray[np.uint8]) -> None:
    png = encode(noise, "PNG")
    short = chunk(b"tEXt", b"Title\0a cat")
    data = png[:33] + LONG["zTXt"] + short + png[33:-12] + LONG["iCCP"] + png[-12:]
    expected = png[:33] + short + png[33:]
    view = without_long_texts(io.BytesIO(data))
    assert view.read() == expected
    for place in (0, 30, 40, len(expected) - 5):
        view.seek(place)
        assert view.tell() == place
        assert view.read(20) == expected[place : place + 20]
    plain = io.BytesIO(png)
    assert without_long_texts(plain) is plain
    assert plain.tell() == 0
    assert [c.kind for c in png_chunks(plain)] == [b"IHDR", b"IDAT", b"IEND"]
