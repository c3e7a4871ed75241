"""Made photographs for benchmarks: JPEGs of a real one's size and entropy, from a seed alone.

What takes time in a photograph is its number of pixels and its number of bytes: these have 12
megapixels in about 2.8 MB, or 500 pixels in about 60 KB. They show nothing.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

_QUALITY = 90  # of JPEG, as cameras have it
_SHAPES = 40


@dataclass(frozen=True)
class PhotoFormat:
    """A size of photographs, and how grainy they are."""

    name: str
    width: int  # pixels
    height: int
    grain: float  # standard deviation, of 255


LARGE = PhotoFormat("12-megapixel", 4000, 3000, 3.5)
SMALL = PhotoFormat("500-pixel", 500, 375, 5.0)


def make_photos(photo_format: PhotoFormat, num: int, folder: Path) -> list[Path]:
    """Write photographs, unless they are there.

    Args:
        photo_format: Their size.
        num: How many; the first ones are the same for any number.
        folder: Where; it holds nothing else.

    Returns:
        Their paths, in order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:04}.jpg" for number in range(num)]
    missing = [number for number, path in enumerate(paths) if not path.exists()]
    if missing:
        print(f"making {len(missing)} {photo_format.name} photographs", flush=True)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(mp_context=context) as pool:
            list(pool.map(partial(_write_photo, photo_format, folder), missing))
    return paths


def link_photos(paths: list[Path], folder: Path) -> None:
    """Make a folder of links to photographs, or add those that it lacks."""
    folder.mkdir(exist_ok=True)
    for path in paths:
        if not (folder / path.name).exists():
            (folder / path.name).hardlink_to(path)


def _write_photo(photo_format: PhotoFormat, folder: Path, number: int) -> None:
    size = (photo_format.width, photo_format.height)
    generator = np.random.default_rng([number, *size])
    colors = generator.integers(30, 226, size=(6, 8, 3), dtype=np.uint8)
    image = Image.fromarray(colors).resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(_SHAPES):  # edges
        x, y = generator.random(2) * size
        radius = generator.uniform(0.01, 0.1) * size[0]
        color = tuple(generator.integers(0, 256, size=3).tolist())
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
    values = np.asarray(image).astype(np.int16)
    shift = tuple(generator.integers(0, 4096, size=2).tolist())
    values += np.roll(_grain(photo_format), shift, axis=(0, 1))[..., None]
    pixels = np.clip(values, 0, 255).astype(np.uint8)
    unfinished = folder / f".{number:04}.part"
    Image.fromarray(pixels).save(unfinished, "JPEG", quality=_QUALITY)
    unfinished.rename(folder / f"{number:04}.jpg")


@cache
def _grain(photo_format: PhotoFormat) -> NDArray[np.int16]:
    """Return fine structure and noise, the same for all of a format but for where it lies."""
    height, width = photo_format.height, photo_format.width
    generator = np.random.default_rng([height, width])
    coarse = generator.normal(0, 12, (height // 6, width // 6)).astype(np.float32)
    structure = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noise = generator.standard_normal((height, width), dtype=np.float32) * photo_format.grain
    return np.rint(np.asarray(structure) + noise).astype(np.int16)
