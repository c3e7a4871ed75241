"""One picture of a collection, and how it becomes the square RGB image that a tower sees."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

Split = Literal["train", "test"]

MAX_PIXELS = 6_000_000  # openclipart has drawings of 168 million pixels; those are skipped
_TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_SVG_WIDTH = 320
_MARGIN = 1.06  # a cut-out gets 3 % of white on each side


class UnreadablePictureError(Exception):
    """A picture that the recipe leaves out: damaged or far too large."""


@dataclass(frozen=True)
class Picture:
    """One picture and what is said about it."""

    path: Path
    captions: tuple[str, ...]  # the first is the query of the retrieval benchmarks
    concept: str  # pictures of one concept are never in two splits
    split: Split
    category: str  # the collection's own folder or group
    tags: tuple[str, ...] = ()  # looser keywords
    is_photograph: bool = False
    is_cutout: bool = False  # an object alone, on transparent or white ground

    def load(self) -> Image.Image:
        """Return the picture as RGB, transparency on white, cut-outs padded to a square.

        Raises:
            UnreadablePictureError: If the file is damaged or has more than 6 million pixels.
        """
        image = on_white(open_picture(self.path))
        return pad_to_square(image) if self.is_cutout else image


def open_picture(path: Path) -> Image.Image:
    """Return the decoded picture in its own mode; SVG is drawn 320 pixels wide.

    Raises:
        UnreadablePictureError: If the file is damaged or has more than 6 million pixels.
    """
    try:
        image = _draw_svg(path) if path.suffix == ".svg" else _open_bitmap(path)
        if image.width * image.height > MAX_PIXELS:
            raise UnreadablePictureError(f"{path} has {image.width} x {image.height} pixels")
        image.load()
    except (OSError, ValueError, SyntaxError, *_TOO_LARGE) as error:
        raise UnreadablePictureError(f"{path} cannot be decoded: {error}") from error
    return image


def _draw_svg(path: Path) -> Image.Image:
    import resvg_py  # nothing else needs it, so what never draws runs without

    data = bytes(resvg_py.svg_to_bytes(svg_path=str(path), width=_SVG_WIDTH))
    return Image.open(io.BytesIO(data))


def _open_bitmap(path: Path) -> Image.Image:
    """Return the picture with its header read; Pillow's warning about size becomes an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(path)


def on_white(image: Image.Image) -> Image.Image:
    """Return the picture as RGB with white where it is transparent.

    Dropping the alpha channel instead would show whatever colour lies under it, which costs
    nine points of recall at 1 on cut-outs.
    """
    if image.mode in ("P", "LA", "RGBA", "PA"):
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(ground, image)
    return image.convert("RGB")


def pad_to_square(image: Image.Image) -> Image.Image:
    """Return the picture in the middle of a white square with a small margin."""
    side = int(max(image.size) * _MARGIN)
    square = Image.new("RGB", (side, side), (255, 255, 255))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def resize_and_crop(image: Image.Image, size: int) -> Image.Image:
    """Return the centre square after the shorter side became ``size`` pixels, bicubic."""
    scale = size / min(image.size)
    width = max(size, round(image.width * scale))
    height = max(size, round(image.height * scale))
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))
