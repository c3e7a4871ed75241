"""Measures of image quality, colourfulness and real resolution, to choose the best of copies."""

from pathlib import Path

import numpy as np
from PIL import Image

from clipkit.inputs.decoder import Size
from clipkit.inputs.images import borrow_image

_COLOR_BOX = 128, 128
_KERNELS = (  # down and up again, as programs scale images
    (Image.Resampling.BICUBIC, Image.Resampling.BICUBIC),
    (Image.Resampling.LANCZOS, Image.Resampling.LANCZOS),
    (Image.Resampling.BOX, Image.Resampling.NEAREST),
)
_FAINT = 0.5  # grey levels of detail; less is not measured against
# How much of the detail that a smaller size just holds must be there beyond it to be real. Of 185
# photographs, 98 % have .43 and more beyond half their size; of those enlarged from a half and
# saved as JPEG, 98 % have .33 at most (pixels repeated, quality 75: .45).
_REAL_SHARE = 0.38


def colorfulness(path: Path, *, max_pixels: int | None = None) -> float:
    """Return how much the colours of an image differ from one tint: 0 for grey and for sepia.

    Args:
        path: The file.
        max_pixels: How many pixels may be decoded. None: default_max_pixels().

    Returns:
        The standard deviation of Cb and Cr, what follows brightness left out, in levels 0..127.

    Raises:
        ImageReadError: If the image cannot be read.
    """
    with borrow_image(path, target=_COLOR_BOX, max_pixels=max_pixels) as image:
        small = image.pixels.resize(_COLOR_BOX, Image.Resampling.BOX).convert("YCbCr")
    luma, *chroma = np.asarray(small, dtype=np.float64).reshape(-1, 3).T
    luma -= luma.mean()
    left = 0.0
    for plane in chroma:
        plane = plane - plane.mean()
        plane -= luma * (plane @ luma) / max(luma @ luma, 1e-9)
        left += float(plane @ plane) / len(plane)
    return float(np.sqrt(left))


def real_size(path: Path, smaller: list[Size], *, max_pixels: int | None = None) -> Size:
    """Return the smallest of some sizes that holds all detail of an image, else its own.

    An enlarged image has no more detail than what it was enlarged from: scaled down to that and up
    again it stays the same. What a program has invented while enlarging (sharpened edges, texture
    from a trained model) passes for detail.

    Args:
        path: The file.
        smaller: Sizes of smaller copies, (width, height), at most 0.6 times as wide and high:
            nearer in size, an enlarged image and one of its own size cannot be told apart.
        max_pixels: How many pixels may be decoded. None: default_max_pixels().

    Returns:
        One of the sizes, or that of the image.

    Raises:
        ImageReadError: If the image cannot be read.
    """
    with borrow_image(path, max_pixels=max_pixels) as image:
        grey = image.pixels.convert("L")
    for size in sorted(smaller):
        if _finer_detail(grey, size) < _REAL_SHARE:
            return size
    return grey.size


def _finer_detail(grey: Image.Image, size: Size) -> float:
    """Return how strong the detail is that a smaller size cannot hold, against that it just can."""
    half = max(1, size[0] // 2), max(1, size[1] // 2)
    shares = []
    for down, up in _KERNELS:
        small = grey.resize(size, down)
        lost = _difference(grey, small.resize(grey.size, up))
        coarser = small.resize(half, Image.Resampling.BICUBIC)
        kept = _difference(small, coarser.resize(size, Image.Resampling.BICUBIC))
        shares.append(lost / max(kept, _FAINT))
    return min(shares)


def _difference(first: Image.Image, second: Image.Image) -> float:
    """Return the root mean square of the differences of two grey images in levels."""
    difference = np.asarray(first, dtype=np.float32) - np.asarray(second, dtype=np.float32)
    return float(np.sqrt((difference * difference).mean()))
