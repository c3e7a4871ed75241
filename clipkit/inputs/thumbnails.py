"""Thumbnails of images for people to look at, as pixels and as JPEG files."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipkit.arguments import check_whole
from clipkit.errors import InputError
from clipkit.inputs.decoder import Size
from clipkit.inputs.image_input import ImageInput
from clipkit.inputs.images import borrow_image

_QUALITY = 85  # of JPEGs that people look at, 1..95


def read_thumbnail(
    source: ImageInput, *, box: Size, max_pixels: int | None = None
) -> NDArray[np.uint8]:
    """Return an image upright, and made small enough for a box.

    Its sides keep their ratio. It is never enlarged.

    Args:
        source: The image, as for read_image.
        box: The largest (width, height) in pixels, each at least 1.
        max_pixels: How many pixels may be decoded. None: default_max_pixels().

    Returns:
        RGB, shape (H, W, 3), uint8.

    Raises:
        ImageReadError: If the image cannot be read.
        InputError: If the box is not two whole numbers of at least 1.
    """
    box = _check_box(box)

    def fit(size: Size) -> Size:
        scale = min(1.0, box[0] / size[0], box[1] / size[1])
        return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))

    with borrow_image(source, target=fit, max_pixels=max_pixels) as image:
        small = image.pixels.resize(
            fit(image.size), Image.Resampling.BICUBIC, box=image.box, reducing_gap=3.0
        )
    return np.asarray(small)


def read_square_thumbnail(
    source: ImageInput, *, side: int, max_pixels: int | None = None
) -> NDArray[np.uint8]:
    """Return an image upright and squeezed into a square, whatever the ratio of its sides.

    Args:
        source: The image, as for read_image.
        side: Pixels of a side, at least 1.
        max_pixels: How many pixels may be decoded. None: default_max_pixels().

    Returns:
        RGB, shape (side, side, 3), uint8.

    Raises:
        ImageReadError: If the image cannot be read.
    """
    decoded = 2 * side, 2 * side
    with borrow_image(source, target=decoded, max_pixels=max_pixels) as image:
        small = image.pixels.resize((side, side), Image.Resampling.BICUBIC, box=image.box)
    return np.asarray(small)


def render_thumbnail(
    source: ImageInput, *, box: Size, quality: int = _QUALITY, max_pixels: int | None = None
) -> bytes:
    """Return an image as a small JPEG file for a browser, whatever kind of file it comes from.

    Upright, 8 bits, without the metadata (place, camera, owner) of the original.

    Args:
        source: The image, as for read_image.
        box: The largest (width, height) in pixels, each at least 1.
        quality: Of the JPEG, 1..95.
        max_pixels: How many pixels may be decoded. None: default_max_pixels().

    Returns:
        The file's bytes.

    Raises:
        ImageReadError: If the image cannot be read.
        InputError: If the box is not two whole numbers of at least 1, or the quality not one.
    """
    quality = check_whole(quality, "quality")
    return encode_jpeg(read_thumbnail(source, box=box, max_pixels=max_pixels), quality=quality)


def encode_jpeg(pixels: NDArray[np.uint8], *, quality: int = _QUALITY) -> bytes:
    """Return pixels as a JPEG file.

    Args:
        pixels: RGB, shape (H, W, 3), uint8.
        quality: Of the JPEG, 1..95.

    Returns:
        The file's bytes.
    """
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.getvalue()


def _check_box(box: object) -> Size:
    if not isinstance(box, tuple | list) or len(box) != 2:
        raise InputError(f"box must be (width, height) in pixels, got {box!r}")
    return check_whole(box[0], "width of the box"), check_whole(box[1], "height of the box")
