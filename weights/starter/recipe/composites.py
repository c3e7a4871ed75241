"""Cut-out objects pasted on photographs, and random crops of photographs, decided by a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from recipe.picture import UnreadablePictureError, on_white, open_picture

_SHORTER_SIDE = 1100  # pixels that a background keeps; crops are much smaller than that


class Backgrounds:
    """Photographs held in memory, from which crops are cut."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Decode the photographs, reduced to 1100 pixels on the shorter side."""
        self._images = [_read_background(path) for path in paths]

    def crop(self, generator: random.Random, size: int, *, smallest: float) -> Image.Image:
        """Return a random crop of a random photograph, resized to a square, half of them mirrored.

        Args:
            generator: Source of all choices.
            size: Side of the result in pixels.
            smallest: Least share of the photograph's shorter side that the crop has, 0 to 1.
        """
        image = generator.choice(self._images)
        side = int(min(image.size) * generator.uniform(smallest, 1))
        aspect = generator.uniform(0.8, 1.25)
        width = min(image.width, int(side * aspect))
        height = min(image.height, int(side / aspect))
        left = generator.randint(0, image.width - width)
        top = generator.randint(0, image.height - height)
        box = (left, top, left + width, top + height)
        square = image.crop(box).resize((size, size), Image.Resampling.BICUBIC)
        return _mirror(square) if generator.random() < 0.5 else square


def view_of(path: Path, generator: random.Random, size: int, *, smallest: float) -> Image.Image:
    """Return a random part of one photograph, as `Backgrounds.crop` does of several."""
    return Backgrounds([path]).crop(generator, size, smallest=smallest)


@dataclass(frozen=True)
class ObjectSize:
    """The longer side of a pasted object as a share of the picture's side."""

    smallest: float
    largest: float


def paste_on_background(
    cutout: Path,
    backgrounds: Backgrounds,
    generator: random.Random,
    *,
    size: int,
    object_size: ObjectSize,
) -> Image.Image:
    """Return the cut-out object at a random place of a random background.

    Raises:
        UnreadablePictureError: If the cut-out cannot be decoded.
    """
    foreground = open_picture(cutout).convert("RGBA")
    visible = foreground.getchannel("A").getbbox()
    if visible is None:
        raise UnreadablePictureError(f"{cutout} is fully transparent")
    foreground = foreground.crop(visible)
    picture = backgrounds.crop(generator, size, smallest=0.3)
    longest = size * generator.uniform(object_size.smallest, object_size.largest)
    scale = longest / max(foreground.size)
    width = max(1, round(foreground.width * scale))
    height = max(1, round(foreground.height * scale))
    foreground = foreground.resize((width, height), Image.Resampling.BICUBIC)
    if generator.random() < 0.5:
        foreground = _mirror(foreground)
    corner = (generator.randint(0, size - width), generator.randint(0, size - height))
    picture.paste(foreground, corner, foreground)
    return picture


def _mirror(image: Image.Image) -> Image.Image:
    """Return the picture with left and right exchanged."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def _read_background(path: Path) -> Image.Image:
    """Return a photograph as RGB, at most 1100 pixels on its shorter side."""
    source = Image.open(path)
    source.draft("RGB", (_SHORTER_SIDE, _SHORTER_SIDE))  # JPEG decodes at a lower scale
    image = on_white(source)
    scale = _SHORTER_SIDE / min(image.size)
    if scale >= 1:
        return image
    size = (round(image.width * scale), round(image.height * scale))
    return image.resize(size, Image.Resampling.BICUBIC)
