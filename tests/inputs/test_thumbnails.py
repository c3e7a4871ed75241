"""Small images: their size, their orientation and their colours."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from clipkit.errors import ImageReadError
from clipkit.inputs.thumbnails import encode_jpeg, read_thumbnail, render_thumbnail


@pytest.mark.parametrize(
    ("size", "box", "expected"),
    [
        ((640, 480), (320, 320), (320, 240)),
        ((480, 640), (320, 320), (240, 320)),
        ((640, 480), (320, 120), (160, 120)),
        ((30, 20), (320, 320), (30, 20)),  # never enlarged
        ((3000, 1), (300, 300), (300, 1)),
        ((1, 3000), (300, 300), (1, 300)),
        ((7, 5), (1, 1), (1, 1)),
    ],
)
def test_size(size: tuple[int, int], box: tuple[int, int], expected: tuple[int, int]) -> None:
    pixels = read_thumbnail(np.zeros((size[1], size[0], 3), np.uint8), box=box)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (expected[1], expected[0], 3)


@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    box=st.tuples(st.integers(1, 100), st.integers(1, 100)),
)
def test_every_size_fits_its_box(width: int, height: int, box: tuple[int, int]) -> None:
    pixels = read_thumbnail(np.zeros((height, width), np.uint8), box=box)
    assert pixels.shape[1] <= box[0]
    assert pixels.shape[0] <= box[1]
    if width > box[0] or height > box[1]:
        assert pixels.shape[1] == box[0] or pixels.shape[0] == box[1]
    else:
        assert pixels.shape[:2] == (height, width)


@pytest.mark.parametrize(
    ("turn", "corner"), [(1, (0, 0)), (3, (-1, -1)), (6, (0, -1)), (8, (-1, 0))]
)
def test_images_are_upright(
    turn: int,
    corner: tuple[int, int],
    encode: Callable[..., bytes],
    exif: Callable[[int], bytes],
) -> None:
    pixels = np.zeros((400, 600, 3), np.uint8)
    pixels[:100, :100] = 255  # white in the upper left corner
    small = read_thumbnail(encode(pixels, "JPEG", exif=exif(turn)), box=(60, 60))
    assert small.shape == ((40, 60, 3) if turn in (1, 3) else (60, 40, 3))
    for place in [(0, 0), (0, -1), (-1, 0), (-1, -1)]:
        assert (small[place].mean() > 200) == (place == corner)


def test_jpegs_are_decoded_no_larger_than_needed(encode: Callable[..., bytes]) -> None:
    image = encode(np.zeros((800, 800, 3), np.uint8), "JPEG")
    assert read_thumbnail(image, box=(50, 50), max_pixels=100 * 100).shape == (50, 50, 3)


def test_scaled_decoding_shows_the_same_image(encode: Callable[..., bytes]) -> None:
    # At 1/8 the last of three columns stands for one column of 17.
    pixels = np.zeros((8 * 17, 17, 3), np.uint8)
    pixels[:, :8] = 255
    small = read_thumbnail(encode(pixels, "JPEG", quality=100), box=(1, 8))
    assert np.abs(small.astype(int) - read_thumbnail(pixels, box=(1, 8))).max() <= 8


def test_jpeg_holds_the_pixels(noise: NDArray[np.uint8]) -> None:
    flat = np.full_like(noise, (200, 100, 50))
    with Image.open(io.BytesIO(encode_jpeg(flat))) as image:
        assert image.format == "JPEG"
        assert image.size == (flat.shape[1], flat.shape[0])
        assert np.abs(np.asarray(image).astype(int) - flat).max() <= 3


def test_limits_and_reasons_are_those_of_read_image(encode: Callable[..., bytes]) -> None:
    image = encode(np.zeros((50, 50), np.uint8), "PNG")
    with pytest.raises(ImageReadError, match="is too large"):
        read_thumbnail(image, box=(10, 10), max_pixels=2499)
    with pytest.raises(ImageReadError, match="is not an image"):
        read_thumbnail(b"hello world", box=(10, 10))


def test_a_rendering_of_any_kind_is_a_jpeg_without_metadata(
    encode: Callable[..., bytes],
) -> None:
    tags = Image.Exif()
    tags[274], tags[315] = 6, "somebody"  # how the camera was held, and by whom
    original = encode(np.full((40, 80, 3), 100, np.uint8), "TIFF", exif=tags)
    assert b"somebody" in original
    rendered = render_thumbnail(original, box=(20, 20))
    assert b"somebody" not in rendered
    with Image.open(io.BytesIO(rendered)) as image:
        assert image.format == "JPEG"
        assert image.size == (10, 20)  # turned upright
        assert np.abs(np.asarray(image).astype(int) - 100).max() <= 2


def test_a_rendering_of_higher_quality_is_closer(noise: NDArray[np.uint8]) -> None:
    box = (noise.shape[1], noise.shape[0])

    def error(quality: int) -> float:
        with Image.open(io.BytesIO(render_thumbnail(noise, box=box, quality=quality))) as image:
            return float(np.abs(np.asarray(image).astype(int) - noise).mean())

    assert error(95) < error(85)
