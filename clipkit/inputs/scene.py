"""Scenes: images with a known content, put together from shapes, photographs and words.

Boxes are (left, top, right, bottom) in shares of the image's width and height, 0..1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from clipkit.errors import InputError
from clipkit.inputs.images import read_image
from clipkit.inputs.shapes import SHAPES

Box = tuple[float, float, float, float]
Change = Literal[
    "none",
    "upside down",
    "turned left",
    "turned right",
    "line drawing",
    "black and white",
    "negative",
    "mosaic",
    "blurred",
    "oil painting",
]
CHANGES: tuple[Change, ...] = get_args(Change)
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
SIDE = 336  # pixels of a scene without a size of its own: what most image encoders take or more
_FINER = 4  # times as many pixels a side while a shape is drawn, for smooth edges


@dataclass(frozen=True)
class Shape:
    """A shape of one colour, in the middle of its box, as large as fits."""

    name: str  # of SHAPES
    color: str  # as CSS names it, or "#rrggbb"
    box: Box = WHOLE


@dataclass(frozen=True)
class Photograph:
    """A photograph that fills its box; what does not fit is cut off on both sides."""

    path: Path
    box: Box = WHOLE
    change: Change = "none"


@dataclass(frozen=True)
class Word:
    """A word on a plate, as large as fits its box."""

    text: str
    color: str
    plate: str  # colour of what it stands on
    box: Box = WHOLE


@dataclass(frozen=True)
class Scene:
    """Layers, each over those before it."""

    layers: tuple[Shape | Photograph | Word, ...]
    background: str = "white"
    # Whether the image has the size of its first layer, a photograph, after it was turned.
    is_photograph_sized: bool = False


def draw_scene(scene: Scene) -> NDArray[np.uint8]:
    """Return a scene as an image.

    Args:
        scene: What it shows.

    Returns:
        RGB, shape (H, W, 3): SIDE a side, or the size of its photograph.

    Raises:
        InputError: If a shape or a change is not known, or a scene of a photograph's size has none.
        ImageReadError: If a photograph cannot be read.
    """
    size = (SIDE, SIDE)
    if scene.is_photograph_sized:
        if not scene.layers or not isinstance(scene.layers[0], Photograph):
            raise InputError("a scene of the size of its photograph must begin with one")
        size = _changed(scene.layers[0]).size
    canvas = Image.new("RGB", size, scene.background)
    for layer in scene.layers:
        left, top, right, bottom = _pixels(layer.box, size)
        wanted = (max(1, right - left), max(1, bottom - top))
        if isinstance(layer, Photograph):
            canvas.paste(
                ImageOps.fit(_changed(layer), wanted, Image.Resampling.BICUBIC), (left, top)
            )
        elif isinstance(layer, Shape):
            mask = _shape_mask(layer.name, min(wanted))
            place = (left + (wanted[0] - mask.width) // 2, top + (wanted[1] - mask.height) // 2)
            canvas.paste(Image.new("RGB", mask.size, layer.color), place, mask)
        else:
            canvas.paste(_word_plate(layer, wanted), (left, top))
    return np.asarray(canvas)


def _pixels(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    left, top, right, bottom = box
    width, height = size
    return round(left * width), round(top * height), round(right * width), round(bottom * height)


def _shape_mask(name: str, side: int) -> Image.Image:
    if name not in SHAPES:
        raise InputError(f'there is no shape "{name}"; there are {", ".join(SHAPES)}')
    fine = side * _FINER
    mask = Image.new("L", (fine, fine), 0)
    draw = ImageDraw.Draw(mask)
    for part in SHAPES[name]:
        corners = [(x * (fine - 1), y * (fine - 1)) for x, y in part.points]
        draw.polygon(corners, fill=0 if part.is_hole else 255)
    return mask.resize((side, side), Image.Resampling.BOX)


def _word_plate(word: Word, size: tuple[int, int]) -> Image.Image:
    plate = Image.new("RGB", size, word.plate)
    width, height = size
    points = height  # letters become as high as their box, or less if it is too narrow
    font = ImageFont.load_default(points)
    length = font.getlength(word.text)
    points = int(min(height * 0.8, 0.9 * width * points / max(length, 1)))
    font = ImageFont.load_default(max(points, 1))
    middle = (width / 2, height / 2)
    ImageDraw.Draw(plate).text(middle, word.text, fill=word.color, font=font, anchor="mm")
    return plate


def _changed(photograph: Photograph) -> Image.Image:
    if photograph.change not in _DRAWN:
        raise InputError(f'change must be one of {", ".join(CHANGES)}, got "{photograph.change}"')
    return _DRAWN[photograph.change](read_image(photograph.path).pixels)


def _line_drawing(image: Image.Image) -> Image.Image:
    """Return dark lines on white where brightness changes."""
    gray = ImageOps.grayscale(image).filter(ImageFilter.GaussianBlur(min(image.size) / 150))
    edges = gray.filter(ImageFilter.FIND_EDGES).crop((2, 2, image.width - 2, image.height - 2))
    strong = ImageOps.autocontrast(edges, cutoff=(70, 2))
    return ImageOps.invert(strong).convert("RGB")


def _mosaic(image: Image.Image) -> Image.Image:
    side = max(1, min(image.size) // 24)
    small = image.resize((-(-image.width // side), -(-image.height // side)), Image.Resampling.BOX)
    return small.resize(image.size, Image.Resampling.NEAREST)


def _blurred(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(min(image.size) / 40))


def _oil_painting(image: Image.Image) -> Image.Image:
    return ImageOps.posterize(image, 4).filter(ImageFilter.ModeFilter(9))


_DRAWN: dict[str, Callable[[Image.Image], Image.Image]] = {
    "none": lambda image: image,
    "upside down": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "turned left": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "turned right": lambda image: image.transpose(Image.Transpose.ROTATE_270),
    "line drawing": _line_drawing,
    "black and white": lambda image: ImageOps.grayscale(image).convert("RGB"),
    "negative": ImageOps.invert,
    "mosaic": _mosaic,
    "blurred": _blurred,
    "oil painting": _oil_painting,
}
