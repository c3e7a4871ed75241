"""Augmented copies of an image (re-encoded, resized, cropped), to calibrate thresholds on."""

import io
from collections.abc import Callable, Mapping
from types import MappingProxyType

from PIL import Image

from clipkit.inputs.image_input import ImageInput
from clipkit.inputs.thumbnails import read_thumbnail

_LARGEST_SIDE = 1024  # pixels; more would take longer and show a model no more
_USUAL_QUALITY = 85  # of JPEGs, 0..100
_LOW_QUALITY = 50
_CROP = 0.05  # of the width and height, on each side


def make_copies(source: ImageInput, *, max_pixels: int | None = None) -> dict[str, bytes]:
    """Return copies of an image, each changed in one way.

    A large image is first scaled down to 1024 pixels on its longer side.

    Args:
        source: The image, as for read_image.
        max_pixels: How many pixels may be decoded. None: default_max_pixels().

    Returns:
        JPEG files by what was done: "re-encoded" at quality 50, "resized" to half the width and
        height, "cropped" by 5 % on each side.

    Raises:
        ImageReadError: If the image cannot be read.
    """
    box = _LARGEST_SIDE, _LARGEST_SIDE
    pixels = Image.fromarray(read_thumbnail(source, box=box, max_pixels=max_pixels))
    return {name: make(pixels) for name, make in _KINDS.items()}


def _encode(pixels: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    pixels.save(file, "JPEG", quality=quality)
    return file.getvalue()


def _re_encoded(pixels: Image.Image) -> bytes:
    return _encode(pixels, _LOW_QUALITY)


def _resized(pixels: Image.Image) -> bytes:
    size = max(1, pixels.width // 2), max(1, pixels.height // 2)
    return _encode(pixels.resize(size, Image.Resampling.BICUBIC), _USUAL_QUALITY)


def _cropped(pixels: Image.Image) -> bytes:
    across, down = round(pixels.width * _CROP), round(pixels.height * _CROP)
    box = across, down, pixels.width - across, pixels.height - down
    return _encode(pixels.crop(box), _USUAL_QUALITY)


_KINDS: Mapping[str, Callable[[Image.Image], bytes]] = MappingProxyType(
    {"re-encoded": _re_encoded, "resized": _resized, "cropped": _cropped}
)
