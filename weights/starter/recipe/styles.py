"""Photographic styles and kinds of picture, rendered from any picture, with words for each.

Every rendering keeps what the picture shows and changes how: its light, its colours, its technique.
So the same picture in another style is the hardest wrong answer to a query that names a style.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps

Render = Callable[[Image.Image, random.Random], Image.Image]
_Array = NDArray[np.float32]


@dataclass(frozen=True)
class Style:
    """One way to render a picture, and how people ask for it."""

    name: str
    render: Render
    templates: tuple[str, ...]  # around what the picture shows: "{}" without an article
    alone: tuple[str, ...]  # without what it shows


def _grey(image: Image.Image, draw: random.Random) -> Image.Image:
    grey = ImageOps.autocontrast(ImageOps.grayscale(image), cutoff=draw.uniform(0, 3))
    grey = ImageEnhance.Contrast(grey).enhance(draw.uniform(0.8, 1.5))
    return _with_grain(grey.convert("RGB"), draw, strength=draw.choice((0.0, 0.0, 6.0, 14.0)))


def _sepia(image: Image.Image, draw: random.Random) -> Image.Image:
    grey = ImageEnhance.Contrast(ImageOps.grayscale(image)).enhance(draw.uniform(0.8, 1.2))
    dark = (draw.randint(25, 60), draw.randint(15, 40), draw.randint(5, 25))
    light = (draw.randint(235, 255), draw.randint(215, 238), draw.randint(170, 205))
    toned = ImageOps.colorize(grey, dark, light)
    toned = _with_grain(toned, draw, strength=draw.choice((0.0, 8.0, 16.0)))
    return _vignette(toned, draw.uniform(0, 0.5))


def _night(image: Image.Image, draw: random.Random) -> Image.Image:
    values = _values(image) ** draw.uniform(1.3, 2.2)
    tint = np.array([draw.uniform(0.35, 0.6), draw.uniform(0.4, 0.6), draw.uniform(0.6, 0.9)])
    values = values * tint.astype(np.float32) * draw.uniform(0.35, 0.8)
    dark = _image(values)
    lights = Image.new("RGB", image.size)
    canvas = ImageDraw.Draw(lights)
    for _ in range(draw.choice((0, 0, 3, 8, 16))):
        x, y = draw.randrange(image.width), draw.randrange(image.height)
        radius = draw.uniform(0.004, 0.02) * image.width
        colour = draw.choice(((255, 220, 150), (255, 190, 90), (255, 250, 230), (255, 90, 60)))
        canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    glow = lights.filter(ImageFilter.GaussianBlur(image.width * 0.015))
    return ImageChops.add(ImageChops.add(dark, glow), lights.filter(ImageFilter.GaussianBlur(1)))


def _fog(image: Image.Image, draw: random.Random) -> Image.Image:
    height = np.linspace(1, 0, image.height, dtype=np.float32)[:, None, None]
    thickness = np.clip(draw.uniform(0.35, 0.6) + draw.uniform(0.1, 0.4) * height, 0, 0.93)
    shade = draw.uniform(0.65, 0.92)
    mist = np.array([shade, shade, shade + draw.uniform(0, 0.05)], dtype=np.float32)
    softened = _values(image.filter(ImageFilter.GaussianBlur(draw.uniform(0.5, 2.0))))
    softened = softened.mean(2, keepdims=True) * 0.6 + softened * 0.4
    return _image(softened * (1 - thickness) + mist * thickness)


def _sunset(image: Image.Image, draw: random.Random) -> Image.Image:
    values = _values(image)
    height = np.linspace(0, 1, image.height, dtype=np.float32)[:, None, None]
    glow = np.array([1.0, draw.uniform(0.45, 0.65), draw.uniform(0.12, 0.3)], dtype=np.float32)
    high = np.array([draw.uniform(0.5, 0.8), 0.35, draw.uniform(0.4, 0.6)], dtype=np.float32)
    horizon = draw.uniform(0.35, 0.65)
    band = np.exp(-(((height - horizon) / 0.22) ** 2)).astype(np.float32)
    light = high * (1 - band) + glow * band
    mixed = values * light * draw.uniform(0.7, 1.0) + light * band * draw.uniform(0.15, 0.4)
    fall = 1 / (1 + np.exp((height - horizon - 0.15) * 25))  # the ground lies in shade
    shade = np.float32(draw.uniform(0.3, 0.7))
    return _image(mixed * (shade + (1 - shade) * fall.astype(np.float32)))


def _warm(image: Image.Image, draw: random.Random) -> Image.Image:
    tint = np.array([1.15, draw.uniform(0.88, 0.98), draw.uniform(0.55, 0.75)], dtype=np.float32)
    return _image(_values(image) * tint)


def _cold(image: Image.Image, draw: random.Random) -> Image.Image:
    tint = np.array([draw.uniform(0.6, 0.75), draw.uniform(0.85, 0.95), 1.2], dtype=np.float32)
    return _image(_values(image) * tint)


def _blur(image: Image.Image, draw: random.Random) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(image.width * draw.uniform(0.012, 0.03)))


def _oil(image: Image.Image, draw: random.Random) -> Image.Image:
    """Strokes as patches of one colour each: the commonest colour around, then a canvas."""
    small = image.resize((170, 170), Image.Resampling.BICUBIC)
    small = ImageOps.posterize(small, draw.choice((4, 5)))
    small = small.filter(ImageFilter.ModeFilter(draw.choice((5, 7))))
    small = ImageEnhance.Color(small).enhance(draw.uniform(1.0, 1.7))
    painted = small.resize(image.size, Image.Resampling.BICUBIC)
    painted = painted.filter(ImageFilter.UnsharpMask(3, 120, 2))
    return _with_grain(painted, draw, strength=draw.choice((0.0, 6.0, 10.0)))


def _watercolour(image: Image.Image, draw: random.Random) -> Image.Image:
    washed = image.filter(ImageFilter.MedianFilter(9)).filter(ImageFilter.MedianFilter(7))
    washed = ImageEnhance.Color(washed).enhance(draw.uniform(0.8, 1.4))
    paper = Image.new("RGB", image.size, (250, 247, 240))
    washed = Image.blend(washed, paper, draw.uniform(0.25, 0.45))
    found = image.convert("L").filter(ImageFilter.FIND_EDGES)
    found = ImageOps.expand(ImageOps.crop(found, 1), 1, 0)  # the filter leaves the rim as it was
    edges = ImageOps.invert(ImageOps.autocontrast(found.filter(ImageFilter.GaussianBlur(1))))
    lines = Image.merge("RGB", (edges, edges, edges))
    return ImageChops.multiply(washed, Image.blend(paper, lines, draw.uniform(0.2, 0.6)))


def _pencil(image: Image.Image, draw: random.Random) -> Image.Image:
    """A grey picture divided by its own blurred copy keeps only lines, like a sketch."""
    grey = ImageOps.grayscale(image)
    radius = image.width * draw.uniform(0.01, 0.03)
    blurred = grey.filter(ImageFilter.GaussianBlur(radius))
    values = np.asarray(grey, np.float32)
    sketch = np.clip(values * 255 / np.maximum(np.asarray(blurred, np.float32), 1), 0, 255)
    sketch = 255 * (sketch / 255) ** draw.uniform(1.5, 4.0)
    drawn = Image.fromarray(sketch.astype(np.uint8))
    paper = (draw.randint(235, 255), draw.randint(230, 252), draw.randint(215, 250))
    toned = ImageOps.colorize(drawn, (draw.randint(10, 80),) * 3, paper)
    return _with_grain(toned, draw, strength=draw.choice((0.0, 6.0)))


def _framed(image: Image.Image, draw: random.Random) -> Image.Image:
    wall = Image.new("RGB", image.size, tuple(draw.randint(140, 240) for _ in range(3)))
    share = draw.uniform(0.45, 0.75)
    size = (int(image.width * share), int(image.height * share))
    border = int(image.width * draw.uniform(0.02, 0.06))
    wood = draw.choice(((60, 40, 25), (20, 20, 20), (190, 150, 70), (120, 80, 50), (240, 240, 240)))
    hung = ImageOps.expand(image.resize(size), border // 2, (245, 245, 240))
    hung = ImageOps.expand(hung, border, wood)
    place = ((image.width - hung.width) // 2, (image.height - hung.height) // 2)
    wall.paste(hung, place)
    return wall


STYLES: tuple[Style, ...] = (
    Style(
        "black and white",
        _grey,
        ("black and white photo of {}", "black and white {}", "{} in black and white",
         "monochrome photo of {}", "a black-and-white photograph of {}", "old photo of {}"),
        ("black and white photo", "black and white", "monochrome photograph", "greyscale image"),
    ),
    Style(
        "sepia",
        _sepia,
        ("sepia photo of {}", "old photo of {}", "vintage photograph of {}", "antique photo of {}"),
        ("sepia", "sepia photo", "old photograph", "vintage photo", "faded old picture"),
    ),
    Style(
        "night",
        _night,
        ("{} at night", "{} in the dark", "night photo of {}", "{} by night"),
        ("night", "at night", "dark night scene", "night photo", "lights in the dark"),
    ),
    Style(
        "fog",
        _fog,
        ("{} in the fog", "foggy {}", "{} in mist", "misty {}", "{} on a foggy day"),
        ("fog", "mist", "foggy morning", "misty landscape", "foggy weather"),
    ),
    Style(
        "sunset",
        _sunset,
        ("{} at sunset", "sunset over {}", "{} at sunrise", "{} in the evening light"),
        ("sunset", "sunrise", "dusk", "orange sky", "evening glow", "golden hour"),
    ),
    Style("warm", _warm, ("{} in warm light", "warm photo of {}"), ("warm light", "golden light")),
    Style(
        "cold", _cold, ("{} in cold blue light", "blue-toned photo of {}"), ("cold blue light",)
    ),
    Style(
        "blurry",
        _blur,
        ("blurry photo of {}", "out of focus {}", "blurred picture of {}"),
        ("blurry photo", "out of focus", "blurred image"),
    ),
    Style(
        "oil painting",
        _oil,
        ("oil painting of {}", "painting of {}", "a painting of {}", "painted {}"),
        ("painting", "oil painting", "artwork", "a painting on canvas"),
    ),
    Style(
        "watercolour",
        _watercolour,
        ("watercolor of {}", "watercolour painting of {}", "painting of {}"),
        ("watercolor", "watercolour painting", "painting"),
    ),
    Style(
        "pencil drawing",
        _pencil,
        ("pencil drawing of {}", "sketch of {}", "drawing of {}", "line drawing of {}"),
        ("pencil drawing", "sketch", "drawing", "line drawing", "hand-drawn sketch"),
    ),
    Style(
        "framed",
        _framed,
        ("framed picture of {}", "{} in a picture frame", "picture of {} hanging on a wall"),
        ("picture frame", "framed picture on a wall"),
    ),
)  # fmt: skip


def _values(image: Image.Image) -> _Array:
    """Return the pixels from 0 to 1, shape (height, width, 3)."""
    return np.asarray(image.convert("RGB"), np.float32) / 255


def _image(values: _Array) -> Image.Image:
    """Return the image of pixels from 0 to 1; what lies outside is cut."""
    return Image.fromarray((np.clip(values, 0, 1) * 255).astype(np.uint8))


def _with_grain(image: Image.Image, draw: random.Random, *, strength: float) -> Image.Image:
    """Return the image with film grain of a standard deviation in grey levels."""
    if not strength:
        return image
    noise = np.random.default_rng(draw.getrandbits(32)).normal(0, strength, image.size[::-1])
    return _image(_values(image) + noise[..., None].astype(np.float32) / 255)


def _vignette(image: Image.Image, strength: float) -> Image.Image:
    """Return the image with darker corners."""
    rows = np.linspace(-1, 1, image.height, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, image.width, dtype=np.float32)[None]
    shade = 1 - strength * (rows**2 + columns**2)[..., None] / 2
    return _image(_values(image) * shade)
