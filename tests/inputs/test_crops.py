"""Parts of an image: those that Pillow crops by hand, from one decode, at any scale."""

import io
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from clipkit.inputs import crops, images
from clipkit.inputs.crop_boxes import WHOLE, crop_boxes, pixel_box
from clipkit.inputs.crops import crop_values, decode_target, part_of
from clipkit.inputs.images import read_image
from clipkit.inputs.preprocess import Preprocess

BOXES = (WHOLE, *crop_boxes(5), (0.31, 0.0, 0.32, 1.0))
SIDES = st.integers(1, 60) | st.sampled_from([200, 333])
MODES = st.sampled_from(["shortest", "longest", "squash"])


def random_image(width: int, height: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def smooth_image(width: int, height: int) -> Image.Image:
    """Colours that change slowly, so that a pixel's place shows and scaling hardly does."""
    x, y = np.linspace(0, 1, width), np.linspace(0, 1, height)[:, None]
    planes = [255 * x + 0 * y, 0 * x + 255 * y, 127 + 127 * np.sin(6 * (x + y))]
    return Image.fromarray(np.stack(planes, axis=2).astype(np.uint8))


def as_jpeg(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, **options)
    return file.getvalue()


def by_hand(preprocess: Preprocess, image: Image.Image) -> NDArray[np.float32]:
    """The slow reference: each part is cropped by Pillow and goes through the preprocess alone."""
    return np.stack([preprocess(image.crop(pixel_box(box, image.size))) for box in BOXES])


@settings(deadline=None, max_examples=60)
@given(width=SIDES, height=SIDES, mode=MODES, size=st.sampled_from([(7, 7), (8, 5), (33, 33)]))
def test_parts_are_those_cropped_by_hand_bit_for_bit(
    width: int, height: int, mode: Any, size: tuple[int, int]
) -> None:
    preprocess, image = Preprocess(size, resize_mode=mode), random_image(width, height)
    values = crop_values(preprocess, image, BOXES)
    assert values.shape == (len(BOXES), 3, *size)
    assert values.tobytes() == by_hand(preprocess, image).tobytes()


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (3, 1), (61, 2000)])
def test_single_pixels_and_strips_have_parts(size: tuple[int, int]) -> None:
    preprocess, image = Preprocess((16, 16)), random_image(*size)
    assert crop_values(preprocess, image, BOXES).tobytes() == by_hand(preprocess, image).tobytes()


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
def test_parts_of_a_photograph_lie_in_the_upright_image(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = as_jpeg(smooth_image(1231, 807), exif=exif)
    preprocess, pixels = Preprocess((32, 32)), np.asarray(read_image(file).pixels)
    exact = crop_values(preprocess, file, BOXES, decode_scaled=False)
    assert exact.tobytes() == by_hand(preprocess, Image.fromarray(pixels)).tobytes()
    scaled = crop_values(preprocess, file, BOXES)
    # The mean difference of scaled decoding that Preprocess.pixel_values states, over 2 / .27.
    assert np.abs(scaled - exact).mean() < 0.005 * 2 / 0.27
    assert np.abs(scaled - exact).max() < 0.2


@pytest.mark.parametrize(("width", "height"), [(4000, 3000), (1301, 2903), (9000, 500)])
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_enough_is_decoded_for_the_smallest_part(width: int, height: int, mode: Any) -> None:
    preprocess, boxes = Preprocess((64, 64), resize_mode=mode), crop_boxes(5)
    decoded = read_image(
        as_jpeg(Image.new("RGB", (width, height))), target=decode_target(preprocess, boxes)
    )
    assert decoded.pixels.width < width  # still scaled
    for box in boxes:
        part = part_of(decoded, box)
        left, top, right, bottom = pixel_box(box, (width, height))
        assert part.size == (right - left, bottom - top)
        wanted = preprocess.resized_size(part.size)
        inner = part.box or (0.0, 0.0, *map(float, part.pixels.size))
        assert inner[2] - inner[0] >= min(2 * wanted[0], part.size[0]) - 2
        assert inner[3] - inner[1] >= min(2 * wanted[1], part.size[1]) - 2


def test_a_large_photograph_is_decoded_as_large_as_its_parts_need() -> None:
    """Two times 256 pixels for the part: of 4096 an eighth, of which half is half as much."""
    file = as_jpeg(Image.new("RGB", (4096, 4096)))
    for side, expected in ((1.0, 512), (0.5, 1024), (0.25, 2048)):
        with patch.object(crops, "part_of", wraps=part_of) as taken:
            crop_values(Preprocess((256, 256)), file, [(0.0, 0.0, side, side)])
        assert taken.call_args.args[0].pixels.size == (expected, expected)


def test_an_image_is_decoded_once_for_all_its_parts() -> None:
    with patch.object(images, "_read", wraps=images._read) as read:
        crop_values(Preprocess((16, 16)), as_jpeg(random_image(100, 80)), BOXES)
    assert read.call_count == 1
