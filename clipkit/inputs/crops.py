"""Parts of an image as pixel values of an image encoder, from one decode.

Shapes: R parts of an image, H x W the image encoder's input size.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from clipkit.inputs.crop_boxes import WHOLE, CropBox, pixel_box
from clipkit.inputs.decoder import Box, DecodedImage, Size
from clipkit.inputs.image_input import ImageInput
from clipkit.inputs.images import borrow_image
from clipkit.inputs.preprocess import Preprocess


def crop_values(
    preprocess: Preprocess,
    source: ImageInput,
    boxes: Sequence[CropBox],
    *,
    decode_scaled: bool = True,
    max_pixels: int | None = None,
    allow_urls: bool = False,
) -> NDArray[np.float32]:
    """Return parts of an image, decoded once, as pixel values of the image encoder.

    Raises what read_image raises.

    Args:
        preprocess: Of the model.
        source: The image, as for read_image.
        boxes: The parts, R of them.
        decode_scaled: Whether large JPEGs are decoded at 1/2, 1/4 or 1/8, to at least twice the
            size that each part is resized to. Without it a part is, bit for bit, what Pillow's
            `crop` to its `pixel_box` and `Preprocess` make of it.
        max_pixels: As in read_image.
        allow_urls: As in read_image.

    Returns:
        Standardised values, shape (R, 3, H, W).
    """
    target = decode_target(preprocess, boxes) if decode_scaled else None
    with borrow_image(
        source, target=target, max_pixels=max_pixels, allow_urls=allow_urls
    ) as decoded:
        parts = [preprocess.fitted(part_of(decoded, box)) for box in boxes]
    return np.stack([preprocess.standardized(part) for part in parts])


def decode_target(preprocess: Preprocess, boxes: Sequence[CropBox]) -> Callable[[Size], Size]:
    """Return a function from an image's full size to the size that is enough for all its parts."""

    def target(size: Size) -> Size:
        wanted = [_whole_size(preprocess, size, box) for box in boxes]
        return max(width for width, _ in wanted), max(height for _, height in wanted)

    return target


def part_of(decoded: DecodedImage, box: CropBox) -> DecodedImage:
    """Return a part of a decoded image, without a pixel of the rest.

    Args:
        decoded: The image, at any scale.
        box: The part.

    Returns:
        The part; its size is that of its `pixel_box`, however much was decoded.
    """
    if box == WHOLE:
        return decoded
    (width, height), pixels = decoded.size, decoded.pixels
    left, top, right, bottom = pixel_box(box, decoded.size)
    size = right - left, bottom - top
    x, y, end_x, end_y = decoded.box or (0.0, 0.0, float(pixels.width), float(pixels.height))
    across, down = (end_x - x) / width, (end_y - y) / height  # decoded pixels for one of the file
    inner: Box = (x + left * across, y + top * down, x + right * across, y + bottom * down)
    corner = math.floor(inner[0]), math.floor(inner[1])
    end = min(math.ceil(inner[2]), pixels.width), min(math.ceil(inner[3]), pixels.height)
    # Cropped first: a resampling filter would look beyond the border of a mere box.
    cut = pixels.crop((*corner, *end))
    inside = (
        inner[0] - corner[0],
        inner[1] - corner[1],
        min(inner[2] - corner[0], float(cut.width)),
        min(inner[3] - corner[1], float(cut.height)),
    )
    is_all = inside == (0.0, 0.0, float(cut.width), float(cut.height))
    return DecodedImage(cut, size, box=None if is_all else inside)


def _whole_size(preprocess: Preprocess, size: Size, box: CropBox) -> Size:
    """Return how large the whole must be for a part to have the size it is resized to."""
    left, top, right, bottom = pixel_box(box, size)
    part = right - left, bottom - top
    wanted = preprocess.resized_size(part)
    return math.ceil(wanted[0] * size[0] / part[0]), math.ceil(wanted[1] * size[1] / part[1])
