"""Perceptual hashes that near-duplicates are found by, and image pyramids to compare them closely.

The perceptual hash of an image is a thumbnail of 32 x 32 grey levels. It is compared by
correlation, not bit by bit, so that crops are found too.

Shapes: S cells a side, N images.
Boxes are (left, top, right, bottom) in shares of the width and height, 0..1.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipkit.errors import ImageReadError
from clipkit.inputs.image_input import ImageInput
from clipkit.inputs.images import borrow_image
from clipkit.progress import map_ahead

GREY_SIDE = 32
"""S, cells a side; wide and high images are squeezed into the square."""

GreyThumbnails = NDArray[np.uint8]
"""Grey levels 0..255, shape (N, S, S)."""

Box = tuple[float, float, float, float]
"""(left, top, right, bottom) in shares of the width and height."""

_AHEAD = 16  # images decoded ahead
_PYRAMID_SIDE = 1024  # pixels of the longer side
_PYRAMID_TARGET = _PYRAMID_SIDE // 2, _PYRAMID_SIDE // 2  # JPEGs are decoded to at least twice this
_BAND = 4  # grey levels up and down that are about the same
_COLOR_SIDE = 64  # pixels of a side; colours say little that is finer


# --- grey thumbnails -----------------------------------------------------------------------------


@dataclass(frozen=True)
class GreyThumbnailReport:
    """Grey thumbnails of the readable images, and why the others are missing."""

    positions: NDArray[np.intp]  # (K,), of the thumbnails in the input
    thumbnails: GreyThumbnails  # (K, S, S)
    skipped: list[ImageReadError] = field(default_factory=list)


def read_grey_thumbnail(source: ImageInput, *, max_pixels: int | None = None) -> NDArray[np.uint8]:
    """Return the grey levels of an image scaled down to a few cells, upright.

    A large JPEG is decoded at a fraction of its size. On the sample photographs that changes a
    cell by 0.1 grey levels on average.

    Args:
        source: The image, as for read_image.
        max_pixels: How many pixels may be decoded. None: default_max_pixels().

    Returns:
        uint8, shape (S, S).

    Raises:
        ImageReadError: If the image cannot be read.
    """
    decoded = 2 * GREY_SIDE, 2 * GREY_SIDE  # at least; nearer to the thumbnail, cells change more
    side = GREY_SIDE, GREY_SIDE
    with borrow_image(source, target=decoded, max_pixels=max_pixels) as image:
        grey = image.pixels.convert("L")
        return np.asarray(grey.resize(side, Image.Resampling.BILINEAR, box=image.box))


def read_grey_thumbnails(
    sources: Sequence[ImageInput],
    *,
    max_pixels: int | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> GreyThumbnailReport:
    """Return the grey thumbnails of many images, decoded in threads.

    Args:
        sources: N images.
        max_pixels: How many pixels of one image may be decoded. None: default_max_pixels().
        progress: Called with how many images are done, and how many there are.

    Returns:
        A report over all N images.
    """
    positions: list[int] = []
    thumbnails: list[NDArray[np.uint8]] = []
    skipped: list[ImageReadError] = []
    for position, outcome in enumerate(_read_ahead(sources, max_pixels)):
        if isinstance(outcome, ImageReadError):
            skipped.append(outcome)
        else:
            positions.append(position)
            thumbnails.append(outcome)
        if progress:
            progress(position + 1, len(sources))
    stack = np.array(thumbnails, dtype=np.uint8).reshape(-1, GREY_SIDE, GREY_SIDE)
    return GreyThumbnailReport(np.array(positions, dtype=np.intp), stack, skipped)


def _read_ahead(
    sources: Sequence[ImageInput], max_pixels: int | None
) -> Iterator[NDArray[np.uint8] | ImageReadError]:
    """Yield a grey thumbnail, or the reason why there is none, for each image in order."""

    def read(source: ImageInput) -> NDArray[np.uint8] | ImageReadError:
        try:
            return read_grey_thumbnail(source, max_pixels=max_pixels)
        except ImageReadError as error:
            return error

    return map_ahead(read, sources, ahead=_AHEAD)


# --- image pyramids ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ImagePyramid:
    """An upright image of at most 1024 x 1024 pixels at several scales: brightness and colours."""

    size: tuple[int, int]  # (width, height) of the full image in pixels
    thumbnail: NDArray[np.uint8]  # (S, S), as read_grey_thumbnail makes it
    _grey: tuple[Image.Image, ...]  # mode L, each half as large as the one before
    _color: tuple[Image.Image, Image.Image]  # Cb and Cr, mode L

    def grey(self, box: Box, size: tuple[int, int]) -> NDArray[np.float32]:
        """Return the grey levels of a part.

        Args:
            box: The part.
            size: (width, height) of the result.

        Returns:
            0..255, shape (height, width).
        """
        wanted = 2 * size[0] / (box[2] - box[0]), 2 * size[1] / (box[3] - box[1])
        fine = [p for p in self._grey if p.width >= wanted[0] and p.height >= wanted[1]]
        return _resized(fine[-1] if fine else self._grey[0], box, size)

    def color(self, box: Box, size: tuple[int, int]) -> NDArray[np.float32]:
        """Return the colours of a part, brightness left out.

        Args:
            box: The part.
            size: (width, height) of the result.

        Returns:
            Cb and Cr, -128..127, of a grey pixel 0, shape (height, width, 2).
        """
        return np.stack([_resized(plane, box, size) for plane in self._color], axis=-1) - 128

    @functools.cached_property
    def flat_share(self) -> float:
        """How much of the image has about one of its three commonest grey levels.

        Of pages, screenshots and drawings it is most, of few photographs.
        """
        counts = np.bincount(np.asarray(self._grey[0]).ravel(), minlength=256).astype(np.float64)
        total = counts.sum()
        for _ in range(3):
            level = int(np.convolve(counts, np.ones(2 * _BAND + 1), "same").argmax())
            counts[max(0, level - _BAND) : level + _BAND + 1] = 0
        return float(1 - counts.sum() / total)


def read_pyramid(source: ImageInput, *, max_pixels: int | None = None) -> ImagePyramid:
    """Return the pyramid of an image, to compare it closely with another one.

    Args:
        source: The image, as for read_image.
        max_pixels: How many pixels may be decoded. None: default_max_pixels().

    Returns:
        The pyramid.

    Raises:
        ImageReadError: If the image cannot be read.
    """
    with borrow_image(source, target=_PYRAMID_TARGET, max_pixels=max_pixels) as image:
        box = image.box or (0, 0, *image.pixels.size)
        filled = box[2] - box[0], box[3] - box[1]
        scale = min(1, _PYRAMID_SIDE / max(filled))
        size = max(1, round(filled[0] * scale)), max(1, round(filled[1] * scale))
        small = image.pixels.resize(size, Image.Resampling.BILINEAR, box=box)
        full = image.size
    grey, *color = small.convert("YCbCr").split()
    shrunk = tuple(
        plane.resize((_COLOR_SIDE, _COLOR_SIDE), Image.Resampling.BOX) for plane in color
    )
    side = GREY_SIDE, GREY_SIDE
    thumbnail = np.asarray(grey.resize(side, Image.Resampling.BILINEAR))
    scales = [grey]
    while min(scales[-1].size) >= 2 * GREY_SIDE:
        scales.append(scales[-1].reduce(2))
    return ImagePyramid(full, thumbnail, tuple(scales), (shrunk[0], shrunk[1]))


def _resized(plane: Image.Image, box: Box, size: tuple[int, int]) -> NDArray[np.float32]:
    width, height = plane.size
    part = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    return np.asarray(plane.resize(size, Image.Resampling.BILINEAR, box=part), dtype=np.float32)
