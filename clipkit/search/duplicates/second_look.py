"""A second, closer look at two images that are alike from far away.

From far away two invoices on one template are the same, and so are a wallpaper in two colourings
and two frames of a burst. A copy is the same in every part. So the images are laid upon each other
and compared tile by tile, and the worst tiles decide.

Shapes: H x W tiles.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipkit.inputs.views import Box, ImageView
from clipkit.search.duplicates.alignment import align, details, grid


class Look(NamedTuple):
    """How closely two images are compared."""

    side: int  # pixels of the longer side; fewer of small images
    num_tiles: int  # along it
    min_correlation: float  # of the details of two tiles that show the same


_PHOTOGRAPH = Look(side=512, num_tiles=16, min_correlation=0.5)
_GRAPHIC = Look(side=1024, num_tiles=48, min_correlation=0.75)
_GRAPHIC_FLATNESS = 0.82  # flat_share from which an image counts as a page, screenshot or drawing

_TRIM = 0.015  # of what both show, on each side: a border may reach in by less than a pixel
_OF_LARGER = 0.6  # share of the larger image's pixels a side: the finest do not outlive a JPEG
_SMALLEST = 64  # pixels of the longer side
_SMALLEST_TILE = 8  # pixels
_REACH = 85  # part of the longer side, in each direction, that detail is set off against
_MIN_DIFFERENCE = 8.0  # grey levels; less may be what a JPEG did to a tile

_MAX_OVERLAY = 0.3  # share of the tiles with detail that words laid over a copy may cover
_ONE_SIDED = 0.75  # share of them that must be richer in the same of the two images
_RICHER = 2**0.5  # times as much contrast

_COLOR_CELLS = 16, 16
_COLORFUL = 4.0  # mean strength of colour, 0..180, from which two colourings can be told apart
_MIN_COLOR_COSINE = 0.85
_STRONG_COLOR = 16.0
_MAX_OTHER_COLORS = 0.03  # share of the strong cells that may have another hue
_OTHER_COLOR_COSINE = 0.7


class Tiles(NamedTuple):
    """How two images that were laid upon each other compare, tile by tile; every shape (H, W)."""

    correlation: NDArray[np.float32]  # of their details, -1..1
    first: NDArray[np.float32]  # strength of the details in grey levels
    second: NDArray[np.float32]

    @property
    def difference(self) -> NDArray[np.float32]:
        """Strength of what is in one and not in the other, in grey levels."""
        both = self.correlation * self.first * self.second
        difference: NDArray[np.float32] = np.sqrt(
            np.maximum(self.first**2 + self.second**2 - 2 * both, 0)
        )
        return difference


def is_copy(first: ImageView, second: ImageView) -> bool:
    """Return whether two images that are alike from far away are alike from close by.

    Every tile must show the same details, every coloured cell the same hue; one of the two may be
    grey. Pages, screenshots and drawings are looked at with twice as many pixels and more strictly.
    In other images words or a mark may lie over up to 30 % of the tiles: there one image has more
    detail than the other nearly everywhere; something that moved leaves detail in both.

    What cannot be told: pages that differ in a few small letters only, images so small that
    their letters have no shape, and frames of a camera on a tripod in which nothing moved.

    Args:
        first: An image.
        second: Another.

    Returns:
        Whether they show the same, up to a light crop, scale, compression and brightness.
    """
    flatness = max(first.flat_share, second.flat_share)
    look = _GRAPHIC if flatness >= _GRAPHIC_FLATNESS else _PHOTOGRAPH
    boxes = align(first, second, finest=look.side // 2).boxes(_TRIM)
    if not has_same_colors(first, second, boxes):
        return False
    tiles = compare(first, second, boxes, look)
    differing = (tiles.correlation < look.min_correlation) & (tiles.difference > _MIN_DIFFERENCE)
    if not differing.any():
        return True
    return look is _PHOTOGRAPH and _is_overlay(tiles, differing)


def compare(first: ImageView, second: ImageView, boxes: tuple[Box, Box], look: Look) -> Tiles:
    """Return how the parts of two images that show the same compare.

    Args:
        first: An image.
        second: Another.
        boxes: The part of each.
        look: How closely.

    Returns:
        The tiles.
    """
    sides = sorted((max(first.size), max(second.size)))
    side = max(_SMALLEST, round(min(look.side, _OF_LARGER * sides[1], sides[0])))
    size = grid(first, boxes[0], side)
    tile, reach = max(_SMALLEST_TILE, side // look.num_tiles), max(2, round(side / _REACH))
    left, right = (
        _tiled(details(view.grey(box, size), reach), tile)
        for view, box in zip((first, second), boxes, strict=True)
    )
    strength, other = (np.sqrt((part * part).mean(axis=2)) for part in (left, right))
    correlation = (left * right).mean(axis=2) / np.maximum(strength * other, 1e-6)
    return Tiles(correlation, strength, other)


def has_same_colors(first: ImageView, second: ImageView, boxes: tuple[Box, Box]) -> bool:
    """Return whether the parts of two images have the same hues where both have any.

    Args:
        first: An image.
        second: Another.
        boxes: The part of each.

    Returns:
        Whether they do; more or less colour everywhere is the same, and so is none in one.
    """
    left, right = first.color(boxes[0], _COLOR_CELLS), second.color(boxes[1], _COLOR_CELLS)
    strength, other = np.linalg.norm(left, axis=2), np.linalg.norm(right, axis=2)
    products = (left * right).sum(axis=2)
    if min(strength.mean(), other.mean()) >= _COLORFUL:
        cosine = products.sum() / np.sqrt((strength**2).sum() * (other**2).sum())
        if cosine < _MIN_COLOR_COSINE:
            return False
    strong = np.minimum(strength, other) >= _STRONG_COLOR
    turned = products < _OTHER_COLOR_COSINE * strength * other
    return bool((strong & turned).sum() <= _MAX_OTHER_COLORS * strong.sum())


def _is_overlay(tiles: Tiles, differing: NDArray[np.bool_]) -> bool:
    """Return whether all that differs looks like something laid over one of the two."""
    detailed = np.maximum(tiles.first, tiles.second) > _MIN_DIFFERENCE / 2
    if differing.sum() > _MAX_OVERLAY * detailed.sum():
        return False
    first, second = tiles.first[differing], tiles.second[differing]
    sides = np.mean(second > _RICHER * first), np.mean(first > _RICHER * second)
    return bool(max(sides) >= _ONE_SIDED)


def _tiled(pixels: NDArray[np.float32], tile: int) -> NDArray[np.float32]:
    """Return the pixels of whole tiles less their means, shape (H, W, tile * tile)."""
    tile = min(tile, *pixels.shape)
    rows, columns = pixels.shape[0] // tile, pixels.shape[1] // tile
    cut = pixels[: rows * tile, : columns * tile].reshape(rows, tile, columns, tile)
    flat = cut.swapaxes(1, 2).reshape(rows, columns, tile * tile)
    centred: NDArray[np.float32] = flat - flat.mean(axis=2, keepdims=True)
    return centred
