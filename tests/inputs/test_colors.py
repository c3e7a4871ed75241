"""Every mode of Pillow -> RGB: expected values from arithmetic on single colours."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clipkit.errors import ImageReadError
from clipkit.inputs.images import read_image


def color_of(source: bytes | Image.Image) -> list[int]:
    """The mean colour of an image, rounded."""
    pixels: NDArray[np.float64] = np.asarray(read_image(source).pixels).mean(axis=(0, 1))
    return [round(float(value)) for value in pixels]


def blend_with_white(value: int, alpha: int) -> int:
    return round(value * alpha / 255 + 255 * (255 - alpha) / 255)


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("RGB", (200, 30, 7), [200, 30, 7]),
        ("L", 90, [90, 90, 90]),
        ("1", 1, [255, 255, 255]),
        ("1", 0, [0, 0, 0]),
        ("CMYK", (255, 0, 0, 0), [0, 255, 255]),
        ("CMYK", (0, 0, 0, 255), [0, 0, 0]),
        ("RGBX", (200, 30, 7, 9), [200, 30, 7]),
        ("YCbCr", (128, 128, 128), [128, 128, 128]),
        ("HSV", (0, 255, 255), [255, 0, 0]),
        ("LAB", (255, 128, 128), [255, 255, 255]),
        ("LAB", (0, 128, 128), [0, 0, 0]),
        ("RGBA", (200, 30, 7, 255), [200, 30, 7]),
        ("RGBA", (200, 30, 7, 0), [255, 255, 255]),
        ("RGBA", (200, 30, 7, 51), [blend_with_white(v, 51) for v in (200, 30, 7)]),
        ("LA", (90, 0), [255, 255, 255]),
        ("LA", (90, 51), [blend_with_white(90, 51)] * 3),
        ("RGBa", (0, 0, 0, 0), [255, 255, 255]),
        ("La", (0, 0), [255, 255, 255]),
        ("I;16", 257 * 90, [90, 90, 90]),
        ("I;16", 65535, [255, 255, 255]),
        ("I;16B", 257 * 90, [90, 90, 90]),
        ("I", 257 * 90, [90, 90, 90]),
        ("F", 0.5, [128, 128, 128]),
        ("F", 1.0, [255, 255, 255]),
        ("F", 200.0, [200, 200, 200]),
    ],
)
def test_one_color_in_every_mode(
    mode: str, color: float | tuple[int, ...], expected: list[int]
) -> None:
    assert color_of(Image.new(mode, (4, 3), color)) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("alpha", [0, 51, 255])
def test_palette_with_an_alpha_for_each_entry(encode: Callable[..., bytes], alpha: int) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 200, 30, 7])
    data = encode(image, "PNG", transparency=bytes([255, alpha]))
    expected = [blend_with_white(value, alpha) for value in (200, 30, 7)]
    assert color_of(data) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_with_a_transparent_index(encode: Callable[..., bytes], kind: str) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 200, 30, 7])
    assert color_of(encode(image, kind)) == [200, 30, 7]
    assert color_of(encode(image, kind, transparency=1)) == [255, 255, 255]


@pytest.mark.parametrize(
    ("mode", "color", "other"),
    [("L", 90, 91), ("RGB", (200, 30, 7), (200, 30, 8)), ("I;16", 30000, 30001)],
)
def test_transparent_color_key_is_white(
    encode: Callable[..., bytes],
    mode: str,
    color: float | tuple[int, ...],
    other: float | tuple[int, ...],
) -> None:
    transparent = encode(Image.new(mode, (4, 4), color), "PNG", transparency=color)
    opaque = encode(Image.new(mode, (4, 4), other), "PNG", transparency=color)
    assert color_of(transparent) == [255, 255, 255]
    assert max(color_of(opaque)) < 210


def test_palette_with_alpha_mode() -> None:
    image = Image.new("PA", (4, 4), (1, 0))
    image.putpalette([0, 0, 0, 200, 30, 7])
    assert color_of(image) == [255, 255, 255]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_ramp_is_scaled_and_not_clipped(encode: Callable[..., bytes], kind: str) -> None:
    values = np.linspace(0, 65535, 256 * 4).astype(np.uint16).reshape(4, 256)
    pixels = np.asarray(read_image(encode(Image.fromarray(values), kind)).pixels)
    assert np.array_equal(pixels[:, :, 0], np.rint(values / 257))


def test_16_bit_big_endian_tiff(encode: Callable[..., bytes]) -> None:
    image = Image.new("I;16B", (4, 4), 257 * 90)
    assert color_of(encode(image, "TIFF")) == [90, 90, 90]


def test_cmyk_jpeg_is_not_inverted(encode: Callable[..., bytes]) -> None:
    cyan, magenta, yellow, key = 200, 100, 40, 51
    data = encode(Image.new("CMYK", (16, 16), (cyan, magenta, yellow, key)), "JPEG", quality=100)
    expected = [(255 - ink) * (255 - key) / 255 for ink in (cyan, magenta, yellow)]
    assert color_of(data) == pytest.approx(expected, abs=3)


def test_ycck_jpeg_is_converted(encode: Callable[..., bytes]) -> None:
    # Adobe files store 255 - ink. The first three of those, read as Y, Cb, Cr, are another colour.
    luma, blue, red, key = 180, 90, 150, 230
    inks = tuple(255 - value for value in (luma, blue, red, key))
    data = encode(Image.new("CMYK", (16, 16), inks), "JPEG", quality=100)
    marker = data.index(b"Adobe")
    assert data[marker + 11] == 0  # colour transform: none
    ycck = data[: marker + 11] + b"\2" + data[marker + 12 :]
    as_rgb = (
        luma + 1.402 * (red - 128),
        luma - 0.344136 * (blue - 128) - 0.714136 * (red - 128),
        luma + 1.772 * (blue - 128),
    )
    # YCCK holds the transform of 255 - C, 255 - M, 255 - Y, all of it inverted once more by Adobe:
    # what comes out of the transform is the ink, and the key channel is stored as 255 - K.
    stored = [255 - value for value in as_rgb]
    expected = [value * key / 255 for value in stored]
    assert color_of(ycck) == pytest.approx(expected, abs=3)


@pytest.mark.parametrize(
    ("mode", "color", "reason"),
    [
        ("I", 65536, "has 32-bit values from 65536 to 65536: save it with 8 or 16 bits a channel"),
        ("I", -1, "has 32-bit values from -1 to -1: save it with 8 or 16 bits a channel"),
        ("F", 256.0, "has floating-point values from 256 to 256: scale them to 0..1 or 0..255"),
        ("F", -0.5, "has floating-point values from -0.5 to -0.5: scale them"),
        ("F", float("nan"), "has floating-point values from nan to nan: scale them"),
    ],
)
def test_values_without_one_meaning_are_refused(mode: str, color: float, reason: str) -> None:
    with pytest.raises(ImageReadError) as caught:
        read_image(Image.new(mode, (2, 2), color))
    assert caught.value.reason.startswith(reason)
