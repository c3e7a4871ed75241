"""Embeddings of places by looking at windows of the image one by one: for any model and engine.

Each window is cut out and embedded as an image of its own, so its cosine is that of a real image. A
place has the mean of the windows that cover it.

Shapes: H x W places, D dimensions.
"""

import math
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipkit.encoder.encoder import Encoder
from clipkit.inputs.images import DecodedImage, Size
from clipkit.progress import Progress

PLACES = 8  # along the shorter side of the image
MOST_PLACES = 32  # along the longer one
# Sides of windows, in places: a half and a quarter of the shorter side. A quarter alone points as
# well on collages of four, and is too small for what fills an image.
SIDES = (4, 2)


class _Window(NamedTuple):
    rows: slice  # of the map
    columns: slice


def grid_of(size: Size) -> tuple[int, int]:
    """Return how many places the map of an image has, (H, W), for its (width, height)."""
    shorter = min(size)
    width, height = (min(MOST_PLACES, round(PLACES * side / shorter)) for side in size)
    return height, width


def window_embeddings(
    encoder: Encoder, image: DecodedImage, progress: Progress | None = None
) -> NDArray[np.float32]:
    """Return an embedding for each place, the mean of its windows' rows of norm 1.

    Args:
        encoder: On any engine.
        image: The image, decoded.
        progress: Called after every batch of windows with (done, total).

    Returns:
        float32, shape (H, W, D), of norm 1 or less.
    """
    grid = grid_of(image.size)
    windows = list(_windows(grid))
    pixels = image.pixels
    crops = [pixels.crop(_pixel_box(window, grid, pixels.size)) for window in windows]
    rows = np.asarray(encoder.encode_images(crops, progress=progress))
    sums = np.zeros((*grid, rows.shape[1]), dtype=np.float32)
    counts = np.zeros((*grid, 1), dtype=np.float32)
    for window, row in zip(windows, rows, strict=True):
        sums[window] += row
        counts[window] += 1
    means: NDArray[np.float32] = sums / counts
    return means


def _windows(grid: tuple[int, int]) -> Iterator[_Window]:
    height, width = grid
    for side in SIDES:
        for top, left in product(range(height - side + 1), range(width - side + 1)):
            yield _Window(slice(top, top + side), slice(left, left + side))


def _pixel_box(window: _Window, grid: tuple[int, int], size: Size) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a window: at least one pixel, however small it is."""
    across, down = size[0] / grid[1], size[1] / grid[0]
    return (
        math.floor(window.columns.start * across),
        math.floor(window.rows.start * down),
        math.ceil(window.columns.stop * across),
        math.ceil(window.rows.stop * down),
    )
