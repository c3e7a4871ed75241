"""Where the crops of an image lie that are embedded beside the whole.

A model sees every image at one small size: what fills a hundredth of a photograph is a few pixels
to it. A crop is shown to it larger, so that small subjects are found. An image has 1 row of the
index, the whole, or 5: the whole and four overlapping corners.
"""

import math
from collections.abc import Sequence
from contextlib import suppress

from clipkit.arguments import check_whole
from clipkit.errors import InputError

CropBox = tuple[float, float, float, float]
"""A part of an image: (left, top, right, bottom), fractions of its sides from 0 to 1."""

WHOLE: CropBox = (0.0, 0.0, 1.0, 1.0)
CROPS = (1, 5)
"""How many rows an image may have: the whole alone, or with four crops.

Another number, or another layout, needs another name for the file of crops in an index.
"""

# Of each side. Of .5 to .7, over three collections of photographs (docs/search.md), .65 leaves what
# counts as found as right as it is without crops; nine crops of .5 find no more than four.
_SHARE = 0.65


def check_crops(crops: object) -> int:
    """Return how many rows an image is to have; raise InputError if it is no such number."""
    with suppress(InputError):
        if (number := check_whole(crops, "crops")) in CROPS:
            return number
    raise InputError(
        f"crops must be {' or '.join(map(str, CROPS))}, rows an image: 1 is the whole, 5 the "
        f"whole and its four corners; got {crops!r}"
    )


def crop_boxes(crops: int) -> tuple[CropBox, ...]:
    """Return the crops that an image of so many rows has beside the whole, row by row.

    Args:
        crops: One of CROPS.

    Returns:
        crops - 1 of them.

    Example:
        >>> crop_boxes(5)[:2]
        ((0.0, 0.0, 0.65, 0.65), (0.35, 0.0, 1.0, 0.65))
    """
    if crops == 1:
        return ()
    sides = ((0.0, _SHARE), (1 - _SHARE, 1.0))
    return tuple((left, top, right, bottom) for top, bottom in sides for left, right in sides)


def pixel_box(box: CropBox, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the pixels of an image that a part covers, the touched ones included.

    Args:
        box: The part, in fractions.
        size: (width, height) of the image, each at least 1.

    Returns:
        (left, top, right, bottom), as Pillow's `crop` takes them; at least one pixel.

    Example:
        >>> pixel_box((0.0, 0.25, 0.5, 1.0), (101, 8))
        (0, 2, 51, 8)
    """
    (width, height), (left, top, right, bottom) = size, box
    return (
        math.floor(left * width),
        math.floor(top * height),
        math.ceil(right * width),
        math.ceil(bottom * height),
    )


def check_boxes(boxes: Sequence[CropBox]) -> tuple[CropBox, ...]:
    """Return parts of images as a tuple; raise InputError unless each lies inside its image."""
    checked = tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in boxes)
    for box in checked:
        left, top, right, bottom = box
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise InputError(
                "a part of an image is (left, top, right, bottom), fractions of its sides from 0 "
                f"to 1, left before right and top before bottom, got {box}"
            )
    if not checked:
        raise InputError("boxes must name a part of the image at least, got none")
    return checked
