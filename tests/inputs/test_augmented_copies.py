"""Copies: their sizes, their quality and what they show, by arithmetic."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipkit.errors import ImageReadError
from clipkit.inputs.augmented_copies import make_copies


def _open(file: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(file))
    assert image.format == "JPEG"
    return image


def test_copies_have_the_sizes_that_their_names_say(encode: Callable[..., bytes]) -> None:
    copies = make_copies(encode(Image.new("RGB", (400, 200)), "PNG"))
    sizes = {name: _open(copy).size for name, copy in copies.items()}
    assert sizes == {"re-encoded": (400, 200), "resized": (200, 100), "cropped": (360, 180)}


def test_a_crop_takes_the_middle(encode: Callable[..., bytes]) -> None:
    grey = np.zeros((200, 400), dtype=np.uint8)
    grey[10:190, 20:380] = 255  # all but 5 % on each side
    cropped = np.asarray(_open(make_copies(encode(grey, "PNG"))["cropped"]).convert("L"))
    assert cropped.min() > 250


def test_quality_is_fifty(encode: Callable[..., bytes], samples: list[Path]) -> None:
    with Image.open(samples[0]) as image:
        pixels = image.convert("RGB").resize((300, 200))
    expected = _open(encode(pixels, "JPEG", quality=50))
    again = _open(make_copies(encode(pixels, "PNG"))["re-encoded"])
    np.testing.assert_array_equal(np.asarray(again), np.asarray(expected))


def test_a_large_image_is_scaled_down_first(encode: Callable[..., bytes]) -> None:
    copies = make_copies(encode(Image.new("RGB", (3000, 1500)), "JPEG"))
    assert _open(copies["re-encoded"]).size == (1024, 512)
    assert _open(copies["resized"]).size == (512, 256)


def test_a_scaled_decode_leaves_no_border(encode: Callable[..., bytes]) -> None:
    # 8203 is not divisible by 4: the last column of the decoded image is filled in part.
    white = np.full((16, 8203), 255, dtype=np.uint8)
    assert np.asarray(_open(make_copies(encode(white, "JPEG"))["re-encoded"])).min() > 250


def test_the_image_handed_in_stays_as_it_is() -> None:
    image = Image.new("RGB", (2000, 1000), "red")
    make_copies(image)
    assert image.size == (2000, 1000)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (3, 2)])
def test_tiny_images_have_copies_too(size: tuple[int, int]) -> None:
    copies = make_copies(Image.new("RGB", size))
    assert all(min(_open(copy).size) >= 1 for copy in copies.values())


def test_no_image_has_no_copies() -> None:
    with pytest.raises(ImageReadError):
        make_copies(b"no image")
