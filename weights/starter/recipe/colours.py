"""Cut-out objects in a named colour, and walls of a named colour behind them.

The same object in another colour is the hardest wrong answer to "yellow car".
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from recipe.composites import Backgrounds
from recipe.picture import UnreadablePictureError, open_picture

Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class Colour:
    """A colour word and what people call by it, from dark to light."""

    name: str
    shades: tuple[Rgb, ...]


COLOURS: tuple[Colour, ...] = (
    Colour("red", ((150, 15, 25), (200, 25, 30), (225, 45, 40))),
    Colour("orange", ((220, 110, 20), (245, 130, 30), (250, 150, 50))),
    Colour("yellow", ((215, 180, 20), (240, 205, 40), (250, 225, 70))),
    Colour("green", ((20, 90, 40), (40, 140, 60), (100, 180, 70))),
    Colour("blue", ((20, 40, 120), (35, 85, 185), (70, 140, 220))),
    Colour("purple", ((75, 30, 110), (115, 55, 155), (150, 95, 190))),
    Colour("pink", ((220, 90, 150), (240, 130, 170), (250, 175, 200))),
    Colour("brown", ((80, 50, 25), (110, 70, 40), (145, 100, 65))),
    Colour("black", ((12, 12, 14), (28, 28, 30), (40, 40, 44))),
    Colour("white", ((225, 225, 222), (238, 238, 236), (250, 250, 248))),
    Colour("grey", ((95, 95, 98), (125, 125, 128), (150, 150, 152))),
    Colour("turquoise", ((15, 130, 135), (35, 170, 170), (80, 205, 200))),
)
# Degrees on the colour circle. A photograph turned from one to another shows the other's things.
HUES = {
    "red": 0,
    "orange": 28,
    "yellow": 52,
    "green": 125,
    "turquoise": 175,
    "blue": 220,
    "purple": 280,
    "pink": 335,
}
_OBJECT_SIZE = (0.45, 0.95)  # of the longer side, as a share of the picture's


@dataclass(frozen=True)
class ColouredObject:
    """What is made: a cut-out in one colour before a ground that has another or none."""

    cutout: Path
    colour: Colour
    wall: Colour | None  # before a wall of this colour; otherwise on a photograph or on white


def paint_object(
    what: ColouredObject, backgrounds: Backgrounds, draw: random.Random, *, size: int
) -> Image.Image:
    """Return the object in its colour before its ground, a square of so many pixels.

    Raises:
        UnreadablePictureError: If the cut-out cannot be decoded or shows nothing.
    """
    cutout = open_picture(what.cutout).convert("RGBA")
    visible = cutout.getchannel("A").getbbox()
    if visible is None:
        raise UnreadablePictureError(f"{what.cutout} is fully transparent")
    cutout = tint(cutout.crop(visible), draw.choice(what.colour.shades))
    longest = size * draw.uniform(*_OBJECT_SIZE)
    scale = longest / max(cutout.size)
    extent = (max(1, round(cutout.width * scale)), max(1, round(cutout.height * scale)))
    cutout = cutout.resize(extent, Image.Resampling.BICUBIC)
    if what.wall is not None:
        ground = paint_wall(what.wall, draw, size=size)
    elif draw.random() < 0.6:
        ground = backgrounds.crop(draw, size, smallest=0.3)
    else:
        ground = Image.new("RGB", (size, size), (255, 255, 255))
    corner = (draw.randint(0, size - extent[0]), draw.randint(0, size - extent[1]))
    ground.paste(cutout, corner, cutout)
    return ground


def turn_hue(image: Image.Image, before: str, after: str) -> Image.Image:
    """Return the image with all its hues turned by as much as lies between two of HUES."""
    return shift_hue(image, round((HUES[after] - HUES[before]) * 256 / 360))


def shift_hue(image: Image.Image, steps: int, *, saturation: float = 1.0) -> Image.Image:
    """Return the image with all its hues turned.

    Args:
        image: Of any mode.
        steps: How far, in 256ths of the circle.
        saturation: What the saturation is multiplied by.
    """
    hue, saturations, value = (np.asarray(part) for part in image.convert("HSV").split())
    turned = (hue.astype(np.int16) + steps) % 256
    parts = (turned, (saturations * saturation).clip(0, 255), value)
    bands = [Image.fromarray(part.astype(np.uint8)) for part in parts]
    return Image.merge("HSV", bands).convert("RGB")


def tint(cutout: Image.Image, colour: Rgb) -> Image.Image:
    """Return the cut-out with its shading in one colour, its outline as it was.

    Args:
        cutout: RGBA.
        colour: What its middle grey becomes; shadows go to black, lights towards white.
    """
    grey = cutout.convert("L")
    alpha = cutout.getchannel("A")
    shown = np.asarray(grey)[np.asarray(alpha) > 0]
    middle = int(np.clip(np.median(shown), 40, 215)) if shown.size else 127
    dark = tuple(int(part * 0.25) for part in colour)
    light = tuple(int(part + (255 - part) * 0.55) for part in colour)
    painted = ImageOps.colorize(grey, dark, light, mid=colour, midpoint=middle)
    painted.putalpha(alpha)
    return painted


def paint_wall(colour: Colour, draw: random.Random, *, size: int) -> Image.Image:
    """Return a plastered or bricked wall of a colour with uneven light."""
    base = np.array(draw.choice(colour.shades), np.float32)
    noise = np.random.default_rng(draw.getrandbits(32)).normal(0, 1, (size, size))
    rough = Image.fromarray((noise * 40 + 128).clip(0, 255).astype(np.uint8))
    rough = rough.filter(ImageFilter.GaussianBlur(draw.uniform(0.6, 4)))
    relief = (np.asarray(rough, np.float32)[..., None] - 128) * draw.uniform(0.3, 1.5)
    slope = np.linspace(draw.uniform(0.75, 1), draw.uniform(0.75, 1.1), size, dtype=np.float32)
    light = slope[None, :, None] * np.ones((size, 1, 1), np.float32)
    if draw.random() < 0.3:
        light = light * _brick_joints(size, draw)
    return Image.fromarray((base * light + relief).clip(0, 255).astype(np.uint8))


def _brick_joints(
    size: int, draw: random.Random
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return factors of the light: darker or lighter where bricks meet."""
    height, length = draw.randint(12, 28), draw.randint(30, 70)
    joint = draw.choice((0.7, 0.8, 1.25))
    factors = np.ones((size, size, 1), np.float32)
    for row, top in enumerate(range(0, size, height)):
        factors[top : top + 2] = joint
        for left in range((row % 2) * length // 2, size, length):
            factors[top : top + height, left : left + 2] = joint
    return factors
