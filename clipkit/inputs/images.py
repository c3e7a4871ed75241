"""Reading an image in any form that a user gives it (path, bytes, array, URL) as upright RGB.

Sizes are (width, height) in pixels.
"""

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePath
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipkit.arguments import check_whole
from clipkit.errors import ImageReadError
from clipkit.inputs.decoder import (
    DecodedImage,
    DecodeOptions,
    Size,
    Target,
    decode_file,
    decode_image,
)
from clipkit.inputs.extensions import RAW_EXTENSIONS
from clipkit.inputs.image_input import ImageInput, check_source, image_name, is_url
from clipkit.inputs.memory_budget import BYTES_PER_PIXEL, Reserve, image_memory
from clipkit.inputs.raw import decode_raw
from clipkit.inputs.read_errors import UnreadableError, reason_for
from clipkit.inputs.safe_open import open_file
from clipkit.inputs.truncated import warn_truncated

__all__ = [
    "DecodedImage",
    "Size",
    "Target",
    "borrow_image",
    "default_max_pixels",
    "read_image",
]


def read_image(
    source: ImageInput,
    *,
    target: Target | None = None,
    max_pixels: int | None = None,
    allow_urls: bool = False,
) -> DecodedImage:
    """Return an image upright and in RGB.

    EXIF orientation is applied to everything that carries it. Transparency is put on white.
    CMYK, palette, grey and 16-bit images become 8-bit RGB without clipping; colour profiles are
    not applied, as in open_clip. Of an animation the first frame is read, of a file of several
    pages the first that is no thumbnail. A JPEG or GIF that lacks only its last bytes is read with
    a CutOffImageWarning, unless $CLIPKIT_STRICT_IMAGES is set to anything but 0. HEIC needs the
    extra "heif", camera RAW files "raw", JPEG XL "jxl", unusual kinds of TIFF "tiff".

    Args:
        source: The image. Files are read from their start where they can be rewound, and are
            left open.
        target: What the image will be resized to, (width, height), or a function from its full
            upright size to that. A JPEG may then be decoded at 1/2, 1/4 or 1/8, to at least twice
            the target on both sides. None: decode in full.
        max_pixels: How many pixels may be decoded, after that scaling. None: default_max_pixels().
        allow_urls: Whether a text starting with http:// or https:// is fetched.

    Returns:
        The image with its full size.

    Raises:
        ImageReadError: If the image is missing, damaged, too large or of an unknown kind. It
            carries the path and the reason.
        InputError: If the source is of a wrong type, dtype or shape, a URL that is not allowed,
            or max_pixels is less than 1.

    Example:
        >>> image = read_image(np.zeros((2, 3), dtype=np.uint8))
        >>> image.pixels.mode, image.size
        ('RGB', (3, 2))
    """
    return _read_image(source, target, max_pixels, allow_urls, lambda _: None)


@contextlib.contextmanager
def borrow_image(
    source: ImageInput,
    *,
    target: Target | None = None,
    max_pixels: int | None = None,
    allow_urls: bool = False,
) -> Iterator[DecodedImage]:
    """Read an image for a ``with`` block that makes something smaller of it.

    However many threads do this, their images share the budget of :func:`image_memory`: decoding
    waits until there is enough memory.

    Args:
        source: As in read_image, and so are the others.
        target: As in read_image.
        max_pixels: As in read_image.
        allow_urls: As in read_image.

    Yields:
        The image, as read_image returns it.

    Raises:
        ImageReadError: As read_image does.
        InputError: As read_image does.
    """
    with image_memory().reservation() as reserve:
        yield _read_image(source, target, max_pixels, allow_urls, reserve)


def default_max_pixels() -> int:
    """Return how many pixels one image may have: as many as fit into :func:`image_memory`.

    Returns:
        134 million on a machine with 4 GiB or more, fewer on a smaller one.
    """
    return image_memory().limit // BYTES_PER_PIXEL


# Up to this size a file is read at once and decoded from memory, so that no thread waits for the
# disk of another. A larger file is read while it is decoded, once its memory is reserved.
_MAX_BYTES_AT_ONCE = 16 * 1024 * 1024


def _read_image(
    source: ImageInput,
    target: Target | None,
    max_pixels: int | None,
    allow_urls: bool,  # noqa: FBT001 - private, and passed through
    reserve: Reserve,
) -> DecodedImage:
    limit = default_max_pixels() if max_pixels is None else check_whole(max_pixels, "max_pixels")
    check_source(source, allow_urls=allow_urls)
    head = bytearray()
    try:
        image = _read(source, DecodeOptions(limit, target, reserve), head)
    except Exception as error:  # on damaged files Pillow raises nearly any
        raise ImageReadError(image_name(source), reason_for(error, bytes(head))) from error
    if image.missing_share is not None:
        warn_truncated(image_name(source), image.missing_share)
    return image


def _read(source: ImageInput, options: DecodeOptions, head: bytearray) -> DecodedImage:
    """Read a source; head takes its first bytes, for the message if that fails."""
    if isinstance(source, Image.Image):
        return decode_image(source, options)
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, bytes):
        return _decode(io.BytesIO(source), "", options, head)
    if isinstance(source, str) and is_url(source):
        from clipkit.inputs.urls import fetch

        return _decode(io.BytesIO(fetch(source)), source, options, head)
    if isinstance(source, str | os.PathLike):
        return _from_path(Path(source), options, head)
    return _from_file(source, options, head)


def _from_path(path: Path, options: DecodeOptions, head: bytearray) -> DecodedImage:
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > _MAX_BYTES_AT_ONCE:
            return _decode(file, path.name, options, head)
        data = file.read(size)  # no more: it may be growing
    return _decode(io.BytesIO(data), path.name, options, head)


def _from_file(file: BinaryIO, options: DecodeOptions, head: bytearray) -> DecodedImage:
    with contextlib.suppress(AttributeError, io.UnsupportedOperation):
        file.seek(0)
    return _decode(io.BytesIO(file.read()), image_name(file), options, head)


def _from_array(array: NDArray[np.uint8]) -> DecodedImage:
    plane = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    image = Image.fromarray(plane)
    return decode_image(image, DecodeOptions(max_pixels=array.size))


def _decode(file: BinaryIO, name: str, options: DecodeOptions, head: bytearray) -> DecodedImage:
    head += file.read(64)
    file.seek(0)
    if not head:
        raise UnreadableError("is empty (0 bytes)")
    ending = PurePath(name).suffix.lower()
    if ending in RAW_EXTENSIONS:
        return decode_raw(file, options)
    return decode_file(file, replace(options, ending=ending))
