"""Outlines of simple shapes, as polygons in a unit square: what images made for tests show.

x grows to the right and y downwards, as in images. A shape is drawn part by part: parts fill, and
parts that are cut out show the background.
"""

import math
from dataclasses import dataclass

Point = tuple[float, float]
_ROUND = 64  # corners of a circle


@dataclass(frozen=True)
class Part:
    """A polygon of a shape."""

    points: tuple[Point, ...]  # in 0..1
    is_hole: bool = False  # whether it is cut out of the parts before it


def _polygon(*points: Point) -> Part:
    return Part(points)


def _box(left: float, top: float, right: float, bottom: float) -> Part:
    return Part(((left, top), (right, top), (right, bottom), (left, bottom)))


def _oval(left: float, top: float, right: float, bottom: float) -> Part:
    return _arc(left, top, right, bottom, 0, 360)


def _arc(*numbers: float) -> Part:
    """Return a piece of an oval: left, top, right, bottom, and two angles clockwise from right."""
    left, top, right, bottom, start, end = numbers
    steps = [start + (end - start) * step / _ROUND for step in range(_ROUND + 1)]
    return Part(
        tuple(
            (
                (left + right + (right - left) * math.cos(math.radians(angle))) / 2,
                (top + bottom + (bottom - top) * math.sin(math.radians(angle))) / 2,
            )
            for angle in steps
        )
    )


def _spikes(count: int, inner: float) -> Part:
    """Return a star of that many points, whose inner corners are at a share of its radius."""
    corners = []
    for corner in range(2 * count):
        radius = 0.5 if corner % 2 == 0 else 0.5 * inner
        angle = math.pi * corner / count
        corners.append((0.5 + radius * math.sin(angle), 0.5 - radius * math.cos(angle)))
    return Part(tuple(corners))


def _without(part: Part) -> Part:
    return Part(part.points, is_hole=True)


SHAPES: dict[str, tuple[Part, ...]] = {
    "circle": (_oval(0, 0, 1, 1),),
    "square": (_box(0.05, 0.05, 0.95, 0.95),),
    "triangle": (_polygon((0.5, 0.05), (1, 0.95), (0, 0.95)),),
    "star": (_spikes(5, 0.4),),
    "heart": (
        _oval(0.0, 0.08, 0.54, 0.6),
        _oval(0.46, 0.08, 1.0, 0.6),
        _polygon((0.06, 0.48), (0.5, 0.3), (0.94, 0.48), (0.5, 0.97)),
    ),
    "cross": (_box(0.35, 0, 0.65, 1), _box(0, 0.35, 1, 0.65)),
    "arrow": (_box(0, 0.38, 0.6, 0.62), _polygon((0.55, 0.15), (1, 0.5), (0.55, 0.85))),
    "crescent": (_oval(0.05, 0, 1, 1), _without(_oval(0.35, 0, 1.2, 0.95))),
    "ring": (_oval(0, 0, 1, 1), _without(_oval(0.25, 0.25, 0.75, 0.75))),
    "diamond": (_polygon((0.5, 0), (0.88, 0.5), (0.5, 1), (0.12, 0.5)),),
    "hexagon": (
        _polygon((0.25, 0.07), (0.75, 0.07), (1, 0.5), (0.75, 0.93), (0.25, 0.93), (0, 0.5)),
    ),
    "lightning bolt": (
        _polygon((0.55, 0), (0.2, 0.55), (0.45, 0.55), (0.3, 1), (0.8, 0.38), (0.52, 0.38)),
    ),
    "house": (
        _polygon((0.5, 0.02), (1, 0.45), (0, 0.45)),
        _box(0.12, 0.45, 0.88, 0.98),
        _without(_box(0.42, 0.65, 0.6, 0.98)),
        _without(_box(0.2, 0.55, 0.34, 0.7)),
    ),
    "tree": (
        _polygon((0.5, 0), (0.82, 0.4), (0.18, 0.4)),
        _polygon((0.5, 0.25), (0.95, 0.78), (0.05, 0.78)),
        _box(0.42, 0.78, 0.58, 1),
    ),
    "fish": (
        _oval(0, 0.22, 0.78, 0.78),
        _polygon((0.65, 0.5), (1, 0.2), (1, 0.8)),
        _without(_oval(0.14, 0.38, 0.23, 0.47)),
    ),
    "sun": (_spikes(12, 0.72), _without(_oval(0.2, 0.2, 0.8, 0.8)), _oval(0.24, 0.24, 0.76, 0.76)),
    "cloud": (
        _oval(0, 0.42, 0.42, 0.82),
        _oval(0.2, 0.2, 0.7, 0.75),
        _oval(0.55, 0.36, 1, 0.82),
        _box(0.2, 0.55, 0.8, 0.82),
    ),
    "mushroom": (_arc(0, 0.05, 1, 1.05, 180, 360), _box(0.38, 0.55, 0.62, 0.97)),
    "umbrella": (
        _arc(0, 0.05, 1, 0.95, 180, 360),
        _box(0.47, 0.45, 0.53, 0.92),
        _box(0.33, 0.86, 0.53, 0.92),
        _box(0.33, 0.76, 0.39, 0.92),
    ),
    "flag": (_box(0.12, 0, 0.2, 1), _box(0.2, 0.04, 0.95, 0.55)),
    "key": (
        _oval(0, 0.3, 0.42, 0.72),
        _without(_oval(0.12, 0.42, 0.3, 0.6)),
        _box(0.38, 0.46, 1, 0.56),
        _box(0.8, 0.56, 0.87, 0.72),
        _box(0.92, 0.56, 1, 0.78),
    ),
    "cup": (
        _oval(0.55, 0.25, 1, 0.75),
        _without(_oval(0.66, 0.36, 0.89, 0.64)),
        _box(0.05, 0.15, 0.75, 0.9),
    ),
    "ladder": (
        _box(0.2, 0, 0.3, 1),
        _box(0.7, 0, 0.8, 1),
        *(_box(0.3, top, 0.7, top + 0.08) for top in (0.1, 0.3, 0.5, 0.7, 0.88)),
    ),
    "snowman": (
        _oval(0.2, 0.42, 0.8, 1),
        _oval(0.3, 0.15, 0.7, 0.52),
        _box(0.32, 0.12, 0.68, 0.18),
        _box(0.4, 0, 0.6, 0.14),
        _without(_oval(0.4, 0.26, 0.45, 0.31)),
        _without(_oval(0.55, 0.26, 0.6, 0.31)),
    ),
}
"""Parts by the name of the shape, in the order they are drawn."""
