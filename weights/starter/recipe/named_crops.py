"""Parts of photographs of which only the colours are said, as the pixels tell them.

Nobody has to caption them, so there are many; most have all their hues turned by chance, since
photographs are rarely purple.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from recipe.backgrounds import read_scenes
from recipe.captioned_photographs import read_captioned_photographs
from recipe.colours import COLOURS, HUES, shift_hue
from recipe.composites import view_of
from recipe.made_pictures import MadePicture, image_name, unlike_others
from recipe.packages import Cache
from recipe.trunk import ImageJob

NUM_CROPS = 4000
_SMALLEST_CROP = 0.35
_TURNED_SHARE = 0.75  # of the crops
_SATURATION = (0.9, 1.7)  # of turned crops, as a multiple
_LEAST_SHARE = {True: 0.15, False: 0.4}  # of the crop, for a hue to be named, and for the others
_DULL_KEPT = 4  # one in so many of the crops that have no hue: most photographs are grey and brown
_SIDE = 40  # pixels that colours are counted on
_CENTRE = 1.2  # squared distance from the middle, in half sides, at which a pixel counts 1/e
_FARTHEST = 35.0  # CIE 1976 difference from the nearest shade of a colour
_SRGB_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])  # D65
_Numbers = NDArray[np.floating[Any]]


def named_crops(cache: Cache, size: int) -> list[MadePicture]:
    """Return crops of the photographs in which a colour fills enough; those named are kept."""
    pictures = [*read_scenes(cache), *read_captioned_photographs(cache)]
    paths = [picture.path for picture in pictures]
    listed = "\n".join(map(image_name, pictures))
    digest = hashlib.sha256(f"{NUM_CROPS} {size} {listed}".encode()).hexdigest()[:12]
    file = cache.root / f"named-{digest}.json"
    if not file.is_file():
        said = _name_crops(paths, size)
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(said))
        partial.rename(file)
    crops: dict[str, list[str]] = json.loads(file.read_text())
    return [_made(int(number), names, paths, digest, size) for number, names in crops.items()]


def colour_names(image: Image.Image) -> list[str]:
    """Return which of COLOURS fill enough of an image; its middle counts more."""
    pixels = np.asarray(image.convert("RGB").resize((_SIDE, _SIDE)))
    places = np.linspace(-1, 1, _SIDE)
    weights = np.exp(-(places[:, None] ** 2 + places[None] ** 2) / _CENTRE).ravel()
    shades = np.concatenate([lab_values(np.array(colour.shades)) for colour in COLOURS])
    owners = np.repeat(np.arange(len(COLOURS)), [len(colour.shades) for colour in COLOURS])
    differences = lab_values(pixels.reshape(-1, 3))[:, None] - shades
    distances = np.sqrt((differences**2).sum(-1))
    is_near = distances.min(1) < _FARTHEST
    nearest = owners[distances.argmin(1)]
    shares = np.bincount(nearest[is_near], weights[is_near], len(COLOURS)) / weights.sum()
    return [
        colour.name
        for colour, share in zip(COLOURS, shares, strict=True)
        if share >= _LEAST_SHARE[colour.name in HUES]
    ]


def lab_values(rgb: NDArray[np.integer[Any]]) -> _Numbers:
    """Return CIE 1976 L*a*b* values of sRGB pixels under D65, shape (..., 3).

    Source:
        IEC 61966-2-1 and CIE 15.
    """
    share = rgb / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    relative = linear @ _SRGB_TO_XYZ.T / _WHITE
    bent = np.where(relative > 216 / 24389, np.cbrt(relative), (24389 / 27 * relative + 16) / 116)
    x, y, z = bent[..., 0], bent[..., 1], bent[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _name_crops(paths: Sequence[Path], size: int) -> dict[str, list[str]]:
    said = {}
    for number in range(NUM_CROPS):
        names = colour_names(_crop(number, paths, size))
        if names and (HUES.keys() & names or number % _DULL_KEPT == 0):
            said[str(number)] = names
    return said


def _crop(number: int, paths: Sequence[Path], size: int) -> Image.Image:
    draw = random.Random(f"named crop {number}")
    image = view_of(draw.choice(paths), draw, size, smallest=_SMALLEST_CROP)
    if draw.random() >= _TURNED_SHARE:
        return image
    return shift_hue(image, draw.randrange(256), saturation=draw.uniform(*_SATURATION))


def _made(
    number: int, names: Sequence[str], paths: Sequence[Path], digest: str, size: int
) -> MadePicture:
    job = ImageJob(f"named crop {number} of {digest}", lambda: _crop(number, paths, size))
    captions = [
        template.format(name)
        for name in names
        for template in ("{} thing", "something {}", "{} object", "{}")
    ]
    return unlike_others(job, " and ".join(names), tuple(captions))
