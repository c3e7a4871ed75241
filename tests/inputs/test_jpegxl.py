"""JPEG XL: headers against what was encoded, pixels against their arrays."""

import io
import sys
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image

from clipkit.errors import ImageReadError, how_to_install
from clipkit.inputs.images import read_image
from clipkit.inputs.jpegxl import open_jpegxl
from clipkit.inputs.metadata import ImageMetadata, read_metadata
from clipkit.inputs.thumbnails import read_thumbnail


def encoded(pixels: NDArray[Any], **options: Any) -> bytes:
    return bytes(imagecodecs.jpegxl_encode(pixels, lossless=True, **options))


@pytest.mark.parametrize(
    "size",
    [(1, 1), (8, 8), (48, 32), (256, 256), (257, 3), (3, 300), (640, 480), (1920, 1080), (16, 512),
     (500, 400), (512, 400), (2048, 2), (600, 300)],
)  # fmt: skip
@pytest.mark.parametrize("container", [False, True])
def test_sizes_are_those_that_were_encoded(size: tuple[int, int], container: bool) -> None:
    data = encoded(np.zeros((size[1], size[0]), np.uint8), usecontainer=container, effort=1)
    assert open_jpegxl(io.BytesIO(data)).size == size


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("dtype", "bits"), [("uint8", 8), ("uint16", 10), ("uint16", 16)])
def test_pixels(channels: int, dtype: str, bits: int) -> None:
    top = 2**bits - 1
    pixels = np.random.default_rng(0).integers(0, top + 1, (20, 30, channels)).astype(dtype)
    data = encoded(pixels if channels > 1 else pixels[:, :, 0], bitspersample=bits)
    levels = pixels / top * 255
    colors = levels[:, :, : 3 if channels > 2 else 1]
    alpha = levels[:, :, -1:] / 255 if channels in (2, 4) else np.ones((20, 30, 1))
    expected = colors * alpha + 255 * (1 - alpha)
    # Colours and alpha are rounded to levels, and once more when they are put on white.
    rounded = 1.5 if channels in (2, 4) else 0.5
    assert np.abs(np.asarray(read_image(data).pixels) - expected).max() <= rounded


def test_floats() -> None:
    pixels = np.random.default_rng(0).random((20, 30, 3)).astype(np.float32)
    pixels[0, 0] = 1
    assert np.abs(np.asarray(read_image(encoded(pixels)).pixels) - pixels * 255).max() <= 1


def test_first_frame_of_an_animation(noise: NDArray[np.uint8]) -> None:
    data = encoded(np.stack([noise, 255 - noise, noise // 2]))
    assert np.array_equal(np.asarray(read_image(data).pixels), noise)


def box(kind: bytes, body: bytes) -> bytes:
    return (len(body) + 8).to_bytes(4, "big") + kind + body


START = b"\0\0\0\x0cJXL \r\n\x87\n" + box(b"ftyp", b"jxl \0\0\0\0jxl ")


@pytest.mark.parametrize("kind", [b"Exif", b"brob"])
def test_details_say_what_the_pixels_are(
    kind: bytes, noise: NDArray[np.uint8], tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Canon", "EOS R5"
    exif[ExifTags.Base.DateTime] = "2021:02:03 04:05:06"
    exif[ExifTags.Base.Orientation] = 6  # what decoders of JPEG XL do not heed
    body = b"\0\0\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
    if kind == b"brob":
        body = b"Exif" + imagecodecs.brotli_encode(body)
    codestream = encoded(noise)
    half = len(codestream) // 2
    parts = box(b"jxlp", bytes(4) + codestream[:half])
    parts += box(b"jxlp", b"\x80\0\0\x01" + codestream[half:])
    path = tmp_path / "photo.jxl"
    path.write_bytes(START + box(kind, body) + parts)
    assert read_metadata(path) == ImageMetadata(56, 40, "2021-02-03T04:05:06", "Canon EOS R5")
    image = read_image(path)
    assert np.array_equal(np.asarray(image.pixels), noise)
    assert image.size == (56, 40)
    assert read_thumbnail(path, box=(28, 28)).shape == (20, 28, 3)


def bits_of(*numbers: tuple[int, int]) -> bytes:
    """Pack (value, number of bits), the lowest bit first."""
    value, place = 0, 0
    for number, count in numbers:
        value |= number << place
        place += count
    return value.to_bytes(-(-place // 8) + 8, "little")


def header(*numbers: tuple[int, int]) -> bytes:
    return b"\xff\x0a" + bits_of(*numbers)


def test_orientation_swaps_the_sides() -> None:
    small = [(1, 1), (3, 5), (0, 3), (5, 5)]  # 32 high, 48 wide
    for turn in range(8):
        data = header(*small, (0, 1), (1, 1), (turn, 3), (0, 3), (0, 1), (0, 2), (1, 1), (0, 2))
        assert open_jpegxl(io.BytesIO(data)).size == ((32, 48) if turn >= 4 else (48, 32))


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ([(2, 2), (1, 2)], "with channels beside its colours"),  # 1 + 2 + 2 more
        ([(1, 2), (0, 1), (2, 2), (2, 4)], "with channels beside its colours"),  # black ink
        ([(1, 2), (0, 1), (0, 2), (0, 1), (0, 2), (0, 2), (0, 2), (1, 1)], "with premultiplied al"),
    ],
)
def test_kinds_that_are_not_understood_are_refused(
    numbers: list[tuple[int, int]], reason: str
) -> None:
    plain = [(1, 1), (3, 5), (0, 3), (5, 5), (0, 1), (0, 1), (0, 1), (0, 2), (1, 1)]
    with pytest.raises(ImageReadError, match=f"kind of JPEG XL that cannot be read here: {reason}"):
        read_image(header(*plain, *numbers))


def test_bombs_are_refused_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagecodecs, "jpegxl_decode", None)
    wide = [(0, 1), (3, 2), (2**30 - 1, 30), (1, 3), (1, 1)]
    with pytest.raises(ImageReadError, match=r"is too large: its 1073741824 x 1073741824 pixels"):
        read_image(header(*wide))


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, noise: NDArray[np.uint8]) -> None:
    data = encoded(noise)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(ImageReadError) as caught:
        read_image(data)
    assert caught.value.reason == f"is a JPEG XL image: {how_to_install('jxl')}"


def test_what_is_cut_off(noise: NDArray[np.uint8]) -> None:
    data = encoded(noise)
    for size in (3, 20, len(data) // 2, len(data) - 3):
        with pytest.raises(ImageReadError, match=r"is (damaged or )?cut off"):
            read_image(data[:size])
    with pytest.raises(ImageReadError, match="it is a JPEG XL file without an image"):
        read_image(START)
