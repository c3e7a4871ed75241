"""Images for the tests of this room, built from arithmetic."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """An image or an array -> its file as bytes, with Pillow's options for saving."""

    def encode(photo: Image.Image | NDArray[np.uint8], kind: str, **options: object) -> bytes:
        image = photo if isinstance(photo, Image.Image) else Image.fromarray(photo)
        file = io.BytesIO()
        image.save(file, kind, **options)
        return file.getvalue()

    return encode


@pytest.fixture(scope="session")
def exif() -> Callable[[int], bytes]:
    """An orientation from 1 to 8 -> EXIF data that state it."""

    def exif(orientation: int) -> bytes:
        data = Image.Exif()
        data[0x0112] = orientation
        return data.tobytes()

    return exif


@pytest.fixture(scope="session")
def noise() -> NDArray[np.uint8]:
    """Shape (H, W, 3) = (40, 56, 3), every value equally likely."""
    return np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def photographs() -> list[Image.Image]:
    """Three photographs, enlarged to 12 megapixels."""
    paths = sorted((ROOT / "demo" / "samples").glob("*.jpg"))[::16][:3]
    assert len(paths) == 3
    size = (4000, 3000)
    return [
        Image.open(path).convert("RGB").resize(size, Image.Resampling.BICUBIC) for path in paths
    ]
