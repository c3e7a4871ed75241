"""Pixel comparison of two images: one is aligned on the other, then they are compared by tiles.

Seen small, two invoices on one template are the same, and so are a wallpaper in two colourings
and two frames of a burst. A copy is the same in every part. So one image is aligned on the other,
both are compared tile by tile, and the worst tiles decide.

Shapes: H x W tiles.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipkit.inputs.perceptual_hash import Box, ImagePyramid
from clipkit.search.duplicates.perceptual_similarity import crop_pairs


class Strictness(NamedTuple):
    """How closely two images are compared."""

    side: int  # pixels of the longer side; fewer of small images
    num_tiles: int  # along it
    min_correlation: float  # of the details of two tiles that show the same


_PHOTOGRAPH = Strictness(side=512, num_tiles=16, min_correlation=0.5)
_GRAPHIC = Strictness(side=1024, num_tiles=48, min_correlation=0.75)
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


def is_copy(first: ImagePyramid, second: ImagePyramid) -> bool:
    """Return whether two images whose thumbnails are similar are the same in every part.

    Every tile must show the same details, every coloured cell the same hue; one of the two may be
    grey. Pages, screenshots and drawings are compared with twice as many pixels, more strictly.
    In other images words or a mark may lie over up to 30 % of the tiles: there one image has more
    detail than the other nearly everywhere; something that moved leaves detail in both.

    What cannot be told apart: pages that differ in a few small letters only, images so small that
    their letters have no shape, and frames of a camera on a tripod in which nothing moved.

    Args:
        first: An image.
        second: Another.

    Returns:
        Whether they show the same, up to a light crop, scale, compression and brightness.
    """
    flatness = max(first.flat_share, second.flat_share)
    strictness = _GRAPHIC if flatness >= _GRAPHIC_FLATNESS else _PHOTOGRAPH
    boxes = align(first, second, finest=strictness.side // 2).boxes(_TRIM)
    if not _has_same_colors(first, second, boxes):
        return False
    tiles = _compare_tiles(first, second, boxes, strictness)
    differing = (tiles.correlation < strictness.min_correlation) & (
        tiles.difference > _MIN_DIFFERENCE
    )
    if not differing.any():
        return True
    return strictness is _PHOTOGRAPH and _is_overlay(tiles, differing)


def _has_same_colors(first: ImagePyramid, second: ImagePyramid, boxes: tuple[Box, Box]) -> bool:
    """Return whether the parts of two images have the same hues where both have any.

    More or less colour everywhere is the same, and so is none in one of them.
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


def _compare_tiles(
    first: ImagePyramid, second: ImagePyramid, boxes: tuple[Box, Box], strictness: Strictness
) -> Tiles:
    """Return how the parts of two images that show the same compare."""
    sides = sorted((max(first.size), max(second.size)))
    side = max(_SMALLEST, round(min(strictness.side, _OF_LARGER * sides[1], sides[0])))
    size = _grid(first, boxes[0], side)
    tile, reach = max(_SMALLEST_TILE, side // strictness.num_tiles), max(2, round(side / _REACH))
    left, right = (
        _tiled(_details(view.grey(box, size), reach), tile)
        for view, box in zip((first, second), boxes, strict=True)
    )
    strength, other = (np.sqrt((part * part).mean(axis=2)) for part in (left, right))
    correlation = (left * right).mean(axis=2) / np.maximum(strength * other, 1e-6)
    return Tiles(correlation, strength, other)


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


_STARTS = 5  # likely crops that are tried
_COARSE = ((32, 6), (64, 6))  # side in pixels, steps at most: of each start
_FINE = ((128, 12), (256, 8), (512, 3))  # of the start that fits best
_GOOD_FIT = 0.9  # correlation from which no other start is tried
_SETTLED = 0.02  # pixels; a shorter step is the last one on its level
_JUDGED_AT = 128  # side in pixels
_FLATTEST = 2.0  # grey levels of detail; less is taken for noise
_LONGEST_STEP = 3.0  # pixels
_SCALES = 0.7, 1.43  # further apart in size than the crops that are searched for


class Alignment(NamedTuple):
    """The mapping of positions in one image to another: per axis a scale and a shift.

    In shares of the widths and heights, x' = scale_x * x + shift_x, and y alike. A copy by crop,
    border or scaling has one that fits everywhere; frames of a hand-held camera, which turn and
    tilt, have none.
    """

    x: tuple[float, float]
    y: tuple[float, float]

    def boxes(self, trim: float = 0.0) -> tuple[Box, Box]:
        """Return the part of each image that both show, less a share trimmed off each side."""
        (left, right), (left_b, right_b) = _overlap(*self.x, trim)
        (top, bottom), (top_b, bottom_b) = _overlap(*self.y, trim)
        return (left, top, right, bottom), (left_b, top_b, right_b, bottom_b)


def align(first: ImagePyramid, second: ImagePyramid, *, finest: int = 256) -> Alignment:
    """Return the alignment that fits best, by least squares on details from coarse to fine.

    Args:
        first: An image.
        second: Another, of which it may be a copy.
        finest: Pixels of the longer side up to which it is refined.

    Returns:
        The alignment; whether it fits is for the caller to see.
    """
    best, best_fit = Alignment((1, 0), (1, 0)), -1.0
    for crops in crop_pairs(first.thumbnail, second.thumbnail)[:_STARTS]:
        found = _refined(_start(*crops), first, second, _COARSE)
        fit = _fit(found, first, second)
        if fit > best_fit:
            best, best_fit = found, fit
        if fit > _GOOD_FIT:
            break
    levels = tuple(level for level in _FINE if level[0] <= finest)
    return _refined(best, first, second, levels)


def _start(first: Box, second: Box) -> Alignment:
    """Return the alignment under which what a crop leaves of each image is the same."""
    axes = []
    for low, high in ((0, 2), (1, 3)):
        length, length_b = 1 - first[low] - first[high], 1 - second[low] - second[high]
        scale = length_b / length
        axes.append((scale, second[low] - scale * first[low]))
    return Alignment(*axes)


def _overlap(
    scale: float, shift: float, trim: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    start, end = max(0.0, -shift / scale), min(1.0, (1 - shift) / scale)
    inset = trim * (end - start)
    start, end = start + inset, end - inset
    return (start, end), (
        min(1.0, max(0.0, scale * start + shift)),
        min(1.0, max(0.0, scale * end + shift)),
    )


def _both(
    alignment: Alignment, first: ImagePyramid, second: ImagePyramid, side: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the details of what both show, of mean square 1, in the same pixels."""
    box, box_b = alignment.boxes()
    size = _grid(first, box, side)
    pair = []
    for view, part in ((first, box), (second, box_b)):
        found = _details(view.grey(part, size), max(1, side // 16))
        pair.append(found / np.sqrt((found * found).mean() + _FLATTEST**2))
    return pair[0], pair[1]


def _fit(alignment: Alignment, first: ImagePyramid, second: ImagePyramid) -> float:
    left, right = _both(alignment, first, second, _JUDGED_AT)
    return float((left * right).mean())


def _refined(
    alignment: Alignment,
    first: ImagePyramid,
    second: ImagePyramid,
    levels: tuple[tuple[int, int], ...],
) -> Alignment:
    largest = min(max(first.size), max(second.size))
    for side, steps in levels:
        if side > largest:
            break
        best, best_fit, moved = alignment, -1.0, np.inf
        for _ in range(steps):
            pair = _both(alignment, first, second, side)
            fit = float((pair[0] * pair[1]).mean())
            if fit <= best_fit:
                break
            best, best_fit = alignment, fit
            if moved < _SETTLED:
                break
            alignment, moved = _step(alignment, *pair)
        alignment = best
    return alignment


def _step(
    alignment: Alignment, left: NDArray[np.float32], right: NDArray[np.float32]
) -> tuple[Alignment, float]:
    """Improve an alignment by one weighted Gauss-Newton step, as Lucas and Kanade have it.

    Returns the alignment, and how far the step went in pixels. Pixels that fit badly, which may
    show something that is in one image only, weigh little.
    """
    height, width = left.shape
    along_y, along_x = np.gradient((left + right) / 2)
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :]
    y = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None]
    slopes = np.stack([along_x, along_x * x, along_y, along_y * y]).reshape(4, -1)
    error = (left - right).ravel()
    usual = 1.5 * np.median(np.abs(error)) + 1e-3
    weighted = slopes / (1 + (error / usual) ** 2)
    normal = weighted @ slopes.T + 1e-6 * error.size * np.eye(4)
    step = np.clip(np.linalg.solve(normal, weighted @ error), -_LONGEST_STEP, _LONGEST_STEP)
    moved = Alignment(
        _moved(alignment.x, step[0] / width, step[1] / width),
        _moved(alignment.y, step[2] / height, step[3] / height),
    )
    return moved, float(np.abs(step).max())


def _moved(axis: tuple[float, float], shift: float, stretch: float) -> tuple[float, float]:
    """Return an axis moved by shares of what both images show of it."""
    (start, end), (start_b, end_b) = _overlap(*axis, 0.0)
    length = end_b - start_b
    added = stretch * length / (end - start)
    scale = min(max(axis[0] + added, _SCALES[0]), _SCALES[1])
    moved = axis[1] + shift * length - added * (start + end) / 2
    return scale, min(max(moved, -0.4), 0.4)


def _grid(view: ImagePyramid, box: Box, side: int) -> tuple[int, int]:
    """Return the (width, height) of a part of an image whose longer side has so many pixels."""
    width, height = (box[2] - box[0]) * view.size[0], (box[3] - box[1]) * view.size[1]
    scale = side / max(width, height)
    return max(8, round(width * scale)), max(8, round(height * scale))


def _details(grey: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    """Return the difference of each pixel from the mean around it, shape as given."""
    return grey - _box_mean(_box_mean(grey, reach).T, reach).T


def _box_mean(rows: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    """Return the mean of each pixel and `reach` above and below it; the edge repeats itself."""
    above, below = rows[:1].repeat(reach + 1, axis=0), rows[-1:].repeat(reach, axis=0)
    padded = np.concatenate([above, rows, below])
    sums = np.cumsum(padded, axis=0, dtype=np.float64)
    window = 2 * reach + 1
    mean: NDArray[np.float32] = ((sums[window:] - sums[:-window]) / window).astype(np.float32)
    return mean
