"""Perceptual similarity of two images, tolerant of light crops.

Embeddings say what an image shows, and two images of one thing are as close in them as an
image and its copy. What tells a copy apart is that the same details are in the same places.

Shapes: N and M images, S cells a side of their thumbnails (small grey versions).
"""

import numpy as np
from numpy.typing import NDArray

from clipkit.inputs.perceptual_hash import GREY_SIDE, GreyThumbnails

_CELLS = 16  # a side of what is compared
_REACH = 2  # cells in each direction that a cell is compared with
_NOISE = 5.0  # grey levels; weaker details than this count less
_FLAT = 4.0  # length of the details of an image so flat that they may be noise

GreyThumbnail = NDArray[np.uint8]
"""Grey levels 0..255, shape (S, S)."""

Crop = tuple[float, float, float, float]
"""What is cut off the left, the top, the right and the bottom: shares of the width and height."""

_WHOLE: Crop = (0, 0, 0, 0)

# What may have been cut off one of the two images; a border or a bar added to the other is the
# same. Crops in between are close enough to one of these to be found.
_CROPS: tuple[Crop, ...] = (
    (0.05, 0.05, 0.05, 0.05),
    (0.1, 0.1, 0.1, 0.1),
    (0.08, 0, 0, 0),
    (0, 0.08, 0, 0),
    (0, 0, 0.08, 0),
    (0, 0, 0, 0.08),
    (0.08, 0, 0.08, 0),
    (0, 0.08, 0, 0.08),
)


def perceptual_similarity(first: GreyThumbnails, second: GreyThumbnails) -> NDArray[np.float32]:
    """Return the similarity of each image of one set to each of another.

    Each thumbnail is made coarser, every cell is measured against the mean and the contrast of its
    neighbourhood, and the cosine of the two results is taken; the best over light crops of either
    image counts. Brightness, contrast and colour do not. An image without detail, such as a
    plain sky, is similar to nothing.

    Args:
        first: Shape (N, S, S).
        second: Shape (M, S, S).

    Returns:
        float32, shape (N, M), at most 1, which means the same details in the same places;
        unrelated images are near 0.
    """
    left, right = _details(first), _details(second)
    best: NDArray[np.float32] = left @ right.T
    for crop in _CROPS:
        np.maximum(best, left @ _details(second, crop).T, out=best)
        np.maximum(best, _details(first, crop) @ right.T, out=best)
    return np.minimum(best, 1, out=best)


def crop_pairs(first: GreyThumbnail, second: GreyThumbnail) -> list[tuple[Crop, Crop]]:
    """Return pairs of light crops of two images, the most similar pair first.

    Args:
        first: Shape (S, S).
        second: Shape (S, S).

    Returns:
        For each pair, what is cut off the first and off the second; one of them is nothing.
    """
    crops = (_WHOLE, *_CROPS, (0.02, 0.02, 0.02, 0.02))
    left, right = ([_details(s[None], crop)[0] for crop in crops] for s in (first, second))
    similarity = {
        (crop, _WHOLE): float(part @ right[0]) for crop, part in zip(crops, left, strict=True)
    }
    for crop, part in zip(crops, right, strict=True):
        similarity[_WHOLE, crop] = float(left[0] @ part)
    return sorted(similarity, key=lambda pair: -similarity[pair])


def _details(thumbnails: GreyThumbnails, crop: Crop = _WHOLE) -> NDArray[np.float32]:
    """Return the local contrast of cropped images by cell, shape (N, cells), rows of norm <= 1."""
    left, top, right, bottom = crop
    down, across = _cell_weights(top, 1 - bottom), _cell_weights(left, 1 - right)
    grey = down @ thumbnails.astype(np.float32) @ across.T
    offset = grey - _NEIGHBOURHOOD @ grey @ _NEIGHBOURHOOD.T
    contrast = np.sqrt(_NEIGHBOURHOOD @ offset**2 @ _NEIGHBOURHOOD.T + _NOISE**2)
    details = (offset / contrast).reshape(len(thumbnails), _CELLS**2)
    norms = np.linalg.norm(details, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = details / np.maximum(norms, _FLAT)
    return scaled


def _cell_weights(start: float, end: float) -> NDArray[np.float32]:
    """Return the matrix that averages the part from start to end to coarse cells, shape (cells, S).

    A thumbnail's cell on a border counts with the share of it that lies inside.
    """
    borders = np.linspace(start * GREY_SIDE, end * GREY_SIDE, _CELLS + 1)
    cells = np.arange(GREY_SIDE)
    ends = np.minimum(borders[1:, None], cells + 1)
    starts = np.maximum(borders[:-1, None], cells)
    overlaps = np.clip(ends - starts, 0, None)
    weights: NDArray[np.float32] = overlaps.astype(np.float32)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def _neighbourhood() -> NDArray[np.float32]:
    """Return the matrix that takes the mean around each cell, shape (cells, cells).

    Beyond the border, the outermost cell repeats itself.
    """
    weights = np.zeros((_CELLS, _CELLS), dtype=np.float32)
    for cell in range(_CELLS):
        for step in range(-_REACH, _REACH + 1):
            weights[cell, min(max(cell + step, 0), _CELLS - 1)] += 1 / (2 * _REACH + 1)
    return weights


_NEIGHBOURHOOD = _neighbourhood()
