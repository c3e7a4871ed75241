"""Orientation, scaled decoding, limits and shared state: expected values from array arithmetic."""

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from clipkit.errors import ImageReadError
from clipkit.inputs.images import read_image
from clipkit.inputs.preprocess import Preprocess

Pixels = NDArray[np.uint8]

# What each EXIF orientation asks for, as the standard words it ("row 0 is the right side, column 0
# the top" is 6), on an array of rows.
TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: np.rot90(stored, 2),
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
    8: lambda stored: np.rot90(stored, 1),
}


def smooth_image(width: int, height: int) -> Pixels:
    """Red grows to the right, green downwards, blue along the diagonal: no symmetry at all."""
    x = np.linspace(0, 255, width)[None, :] * np.ones((height, 1))
    y = np.linspace(0, 200, height)[:, None] * np.ones((1, width))
    return np.stack([x, y, (x + y) / 3], axis=2).round().astype(np.uint8)


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_orientation_without_scaling(
    encode: Callable[..., bytes], exif: Callable[[int], bytes], orientation: int, kind: str
) -> None:
    stored = smooth_image(48, 32)
    lossless = {"lossless": True} if kind == "WEBP" else {}
    plain = read_image(encode(stored, kind, **lossless))
    turned = read_image(encode(stored, kind, exif=exif(orientation), **lossless))
    expected = TURNS[orientation](np.asarray(plain.pixels))
    assert np.array_equal(np.asarray(turned.pixels), expected)
    assert turned.size == turned.pixels.size == expected.shape[1::-1]
    if kind != "JPEG":
        assert np.array_equal(np.asarray(plain.pixels), stored)


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_orientation_with_scaled_decode(
    encode: Callable[..., bytes], exif: Callable[[int], bytes], orientation: int, mode: str
) -> None:
    # 1001 and 603 do not divide by 8: the last column and row of the scaled image are only
    # partly filled, on whichever side they end up.
    stored = smooth_image(1001, 603)
    data = encode(stored, "JPEG", quality=95, exif=exif(orientation))
    preprocess = Preprocess.from_config({"resize_mode": mode, "mean": [0, 0, 0.0]}, (24, 32))
    expected = preprocess.pixel_values(Image.fromarray(TURNS[orientation](stored)))
    decoded = read_image(data, target=preprocess.resized_size)
    assert decoded.size == TURNS[orientation](stored).shape[1::-1]
    assert max(decoded.pixels.size) < 1001
    values = preprocess.pixel_values(data)
    assert np.array_equal(values, preprocess.pixel_values(decoded))
    levels = np.abs(values - expected) * np.array(preprocess.std)[:, None, None] * 255
    # Half a level on the ramps; a box that is off by the unfilled part is off by two.
    assert levels.mean() < 0.5
    assert levels.max() < 3


def test_orientation_of_a_pil_image_is_applied(
    encode: Callable[..., bytes], exif: Callable[[int], bytes]
) -> None:
    stored = smooth_image(48, 32)
    image = Image.open(io.BytesIO(encode(stored, "PNG", exif=exif(6))))
    assert np.array_equal(np.asarray(read_image(image).pixels), TURNS[6](stored))
    assert image.size == (48, 32)  # the caller's image stays as it was


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_unknown_orientation_is_upright(
    encode: Callable[..., bytes], exif: Callable[[int], bytes], orientation: int
) -> None:
    stored = smooth_image(48, 32)
    data = encode(stored, "PNG", exif=exif(orientation))
    assert np.array_equal(np.asarray(read_image(data).pixels), stored)


@pytest.mark.parametrize("cut", [7, 14, 20])
def test_damaged_exif_leaves_the_image_as_stored(
    encode: Callable[..., bytes], exif: Callable[[int], bytes], cut: int
) -> None:
    stored = smooth_image(48, 32)
    data = encode(stored, "PNG", exif=exif(6)[:cut] + b"\xff" * 20)
    assert np.array_equal(np.asarray(read_image(data).pixels), stored)


@given(width=st.integers(1, 700), height=st.integers(1, 700), side=st.integers(1, 60))
@settings(deadline=None, max_examples=60)
def test_scaled_decode_is_the_smallest_with_twice_the_target(
    width: int, height: int, side: int
) -> None:
    file = io.BytesIO()
    Image.new("L", (width, height), 128).save(file, "JPEG")
    decoded = read_image(file, target=(side, side)).pixels.size
    full = read_image(file).pixels.size
    assert full == (width, height)
    fitting = [s for s in (1, 2, 4, 8) if min(width // s, height // s) >= 2 * side]
    scale = max(fitting, default=1)
    assert decoded == (-(-width // scale), -(-height // scale))


def test_target_is_that_of_the_upright_image(
    encode: Callable[..., bytes], exif: Callable[[int], bytes]
) -> None:
    data = encode(Image.new("L", (800, 200)), "JPEG", exif=exif(6))
    assert read_image(data).pixels.size == (200, 800)
    assert read_image(data, target=(50, 100)).pixels.size == (100, 400)
    assert read_image(data, target=(100, 50)).pixels.size == (200, 800)
    assert read_image(data, target=lambda size: (size[0] // 4, 1)).pixels.size == (100, 400)


def test_target_only_concerns_jpeg(encode: Callable[..., bytes], noise: Pixels) -> None:
    assert read_image(encode(noise, "PNG"), target=(2, 2)).pixels.size == (56, 40)
    assert read_image(encode(noise, "JPEG"), target=(2, 2)).pixels.size == (7, 5)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
def test_scaled_decode_of_photographs_is_within_the_stated_bound(
    encode: Callable[..., bytes], photographs: list[Image.Image], mode: str
) -> None:
    preprocess = Preprocess((224, 224), (0, 0, 0), (1, 1, 1), resize_mode=mode)  # type: ignore[arg-type]
    for photograph in photographs:
        data = encode(photograph, "JPEG", quality=90)
        full = preprocess.pixel_values(data, decode_scaled=False)
        scaled = preprocess.pixel_values(data)
        assert 0 < np.abs(scaled - full).mean() < 0.005


def test_progressive_jpeg_is_the_same_image(encode: Callable[..., bytes], noise: Pixels) -> None:
    baseline = read_image(encode(noise, "JPEG", quality=90))
    progressive = read_image(encode(noise, "JPEG", quality=90, progressive=True))
    assert np.array_equal(np.asarray(baseline.pixels), np.asarray(progressive.pixels))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_image_of_several(encode: Callable[..., bytes], kind: str) -> None:
    frames = [Image.new("RGB", (16, 12), color) for color in ("red", "green", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(data)).n_frames == 3  # type: ignore[attr-defined]
    assert np.array_equal(np.asarray(read_image(data).pixels), np.asarray(frames[0]))


def test_first_image_of_a_multi_image_jpeg(encode: Callable[..., bytes]) -> None:
    frames = [Image.new("RGB", (64, 48), color) for color in ("red", "blue")]
    data = encode(frames[0], "MPO", save_all=True, append_images=frames[1:])
    image = read_image(data, target=(8, 6))
    assert image.pixels.size == (16, 12)
    assert image.pixels.getpixel((3, 3)) == pytest.approx((255, 0, 0), abs=2)


# --- limits -----------------------------------------------------------------------------------


def test_limit_counts_what_is_decoded(encode: Callable[..., bytes]) -> None:
    data = encode(Image.new("L", (800, 400)), "JPEG")
    with pytest.raises(ImageReadError) as caught:
        read_image(data, max_pixels=319_999)
    assert caught.value.reason == (
        "is too large: its 800 x 400 pixels need 0.32 megapixels of memory, the limit is 0.32; "
        "raise it with max_pixels= or --max-megapixels"
    )
    assert read_image(data, max_pixels=320_000).size == (800, 400)
    assert read_image(data, max_pixels=100 * 50, target=(50, 25)).size == (800, 400)
    with pytest.raises(ImageReadError):
        read_image(data, max_pixels=100 * 50 - 1, target=(50, 25))


def test_limit_counts_the_coefficients_of_a_progressive_jpeg(
    encode: Callable[..., bytes],
) -> None:
    data = encode(Image.new("L", (800, 400)), "JPEG", progressive=True)
    pixels = 100 * 50 + 800 * 400 // 4  # a coefficient has two bytes, a pixel eight
    assert read_image(data, max_pixels=pixels, target=(50, 25)).size == (800, 400)
    with pytest.raises(ImageReadError, match=r"need 0\.085 megapixels"):
        read_image(data, max_pixels=pixels - 1, target=(50, 25))


def png_of_zeros(width: int, height: int) -> bytes:
    """A black image as one bit a pixel, compressed a thousandfold."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    rows = zlib.compress(bytes((width // 8 + 1) * height), 9)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def test_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    bomb = png_of_zeros(30_000, 20_000)
    assert len(bomb) < 100_000
    with pytest.raises(ImageReadError, match=r"30000 x 20000 pixels need 600 megapixels"):
        read_image(bomb, max_pixels=100_000_000)


def test_limit_holds_for_a_pil_image_that_is_not_loaded() -> None:
    image = Image.open(io.BytesIO(png_of_zeros(4_000, 1_000)))
    with pytest.raises(ImageReadError, match=r"<PIL image>: is too large"):
        read_image(image, max_pixels=1_000_000)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_pillows_own_limit_neither_warns_nor_fails_nor_changes(
    encode: Callable[..., bytes], noise: Pixels, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encode(noise, kind)
    for limit in (2000, 100):  # 2240 pixels: more than once and more than twice the limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert read_image(data).size == (56, 40)
        assert limit == Image.MAX_IMAGE_PIXELS
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(data))


def test_pillows_limit_is_restored_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 123)
    with pytest.raises(ImageReadError):
        read_image(b"no image")
    assert Image.MAX_IMAGE_PIXELS == 123


# --- threads and warnings ---------------------------------------------------------------------


def test_threads_read_alike_and_leave_pillow_as_it_was(
    encode: Callable[..., bytes], exif: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    stored = smooth_image(48, 32)
    kinds = ["PNG", "TIFF", "BMP"] * 40
    files = [encode(stored, kind) for kind in kinds]
    barrier = threading.Barrier(4)

    def read(part: list[bytes]) -> list[Pixels]:
        barrier.wait()
        return [np.asarray(read_image(data).pixels) for data in part]

    with ThreadPoolExecutor(4) as pool:
        results = [pixels for part in pool.map(read, [files] * 4) for pixels in part]
    assert len(results) == 4 * 120
    assert all(np.array_equal(pixels, stored) for pixels in results)
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_pillows_warnings_stay_inside_and_others_get_out(
    encode: Callable[..., bytes], exif: Callable[[int], bytes]
) -> None:
    # The tag's data lie far behind the end: Pillow says "Corrupt EXIF data" or the like.
    broken = exif(1)[:-4] + b"\x9c\x82\x00\x02\xff\xff\xff\x00\x0f\x00\x00\x00"
    tiff = bytearray(encode(smooth_image(48, 32), "TIFF"))
    entries = struct.unpack_from("<I", tiff, 4)[0]
    struct.pack_into("<HHII", tiff, entries + 2 + 12 * 9, 305, 2, 500_000, 0x7FFFFFFF)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        Image.open(io.BytesIO(bytes(tiff)))
        assert heard, "this file should make Pillow warn"
        heard.clear()
        read_image(encode(smooth_image(48, 32), "PNG", exif=broken))
        assert not heard
        read_image(bytes(tiff))
        assert not heard
        warnings.warn("someone else's", stacklevel=1)
        assert len(heard) == 1


def test_formats_that_start_programs_are_not_read() -> None:
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n"
    with pytest.raises(ImageReadError, match="is not an image: it starts with '%!PS-Adob'"):
        read_image(eps)
