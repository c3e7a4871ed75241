"""Copies of an image as people and programs make them: re-encoded, scaled, cropped, recoloured."""

import io
from collections.abc import Callable

from PIL import Image, ImageDraw, ImageEnhance, ImageOps

Copy = Callable[[Image.Image], bytes]


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """Return the bytes of an image's file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def scaled(share: float, quality: int = 85) -> Copy:
    """Return a function that makes an image smaller."""

    def copy(image: Image.Image) -> bytes:
        size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
        return encoded(image.resize(size, Image.Resampling.LANCZOS), quality=quality)

    return copy


def cropped(left: float, top: float, right: float, bottom: float) -> Copy:
    """Return what cuts shares of the width and height off."""

    def copy(image: Image.Image) -> bytes:
        width, height = image.size
        box = left * width, top * height, (1 - right) * width, (1 - bottom) * height
        return encoded(image.crop(tuple(round(side) for side in box)), quality=90)

    return copy


def with_border(image: Image.Image) -> bytes:
    """Return an image in a white border."""
    return encoded(ImageOps.expand(image, round(0.05 * min(image.size)), "white"), quality=90)


def with_text(image: Image.Image) -> bytes:
    """Return an image with words on it."""
    image = image.copy()
    place = (image.width * 0.05, image.height * 0.8)
    size = max(10, image.height // 10)
    draw = ImageDraw.Draw(image)
    draw.text(place, "Holiday 2024", "white", font_size=size, stroke_width=2, stroke_fill="black")
    return encoded(image, quality=90)


def with_other_colors(image: Image.Image) -> bytes:
    """Return an image that is brighter and more colourful."""
    brighter = ImageEnhance.Brightness(image).enhance(1.15)
    return encoded(ImageEnhance.Color(brighter).enhance(1.3), quality=90)


def turned_by_exif(image: Image.Image) -> bytes:
    """Return an image that lies on its side in the file, which says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(image.transpose(Image.Transpose.ROTATE_90), quality=90, exif=exif.tobytes())


CALIBRATED: dict[str, Copy] = {
    "JPEG quality 50": lambda image: encoded(image, quality=50),
    "half the size": scaled(0.5),
    "5 % off each side": cropped(0.05, 0.05, 0.05, 0.05),
}
OTHERS: dict[str, Copy] = {
    "JPEG quality 20": lambda image: encoded(image, quality=20),
    "WebP quality 75": lambda image: encoded(image, "WEBP", quality=75),
    "a fifth of the size": scaled(0.2),
    "brighter, more colour": with_other_colors,
    "greyscale": lambda image: encoded(ImageOps.grayscale(image), quality=90),
    "turned, EXIF says so": turned_by_exif,
    "words on it": with_text,
    "white border of 5 %": with_border,
    "2 % off each side": cropped(0.02, 0.02, 0.02, 0.02),
    "10 % off each side": cropped(0.1, 0.1, 0.1, 0.1),
    "10 % off the right": cropped(0, 0, 0.1, 0),
    "6 % off top and bottom": cropped(0, 0.06, 0, 0.06),
    "3, 8, 6, 1 % off the sides": cropped(0.03, 0.08, 0.06, 0.01),
    "20 % off each side": cropped(0.2, 0.2, 0.2, 0.2),
    "cut square": lambda image: encoded(ImageOps.fit(image, (min(image.size),) * 2), quality=90),
    "mirrored": lambda image: encoded(ImageOps.mirror(image), quality=90),
}
# Too far from the original to be found; shown, and left out of the totals.
FAR: frozenset[str] = frozenset({"20 % off each side", "cut square", "mirrored"})
