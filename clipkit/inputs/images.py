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

from clipkit.arguments import check_whole, items_of
from clipkit.errors import ImageReadError, InputError
from clipkit.inputs.decoder import (
    DecodedImage,
    DecodeOptions,
    Size,
    Target,
    decode_file,
    decode_image,
)
from clipkit.inputs.memory_budget import BYTES_PER_PIXEL, Reserve, image_memory
from clipkit.inputs.raw import RAW_EXTENSIONS, decode_raw
from clipkit.inputs.read_errors import UnreadableError, reason_for
from clipkit.inputs.safe_open import open_file
from clipkit.inputs.truncated import warn_truncated

__all__ = [
    "DecodedImage",
    "ImageInput",
    "Size",
    "Target",
    "borrow_image",
    "check_image_list",
    "check_is_image",
    "default_max_pixels",
    "image_name",
    "read_image",
]

ImageInput = str | Path | bytes | BinaryIO | Image.Image | NDArray[np.uint8]
"""A path, a URL where the caller allows it, an encoded image as bytes or as an open binary file,
a Pillow image, or a uint8 array of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)."""


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


def check_image_list(images: object) -> None:
    """Raise if one image was given where a list of images is wanted.

    A path, bytes and an array can be iterated over as well, by letters, numbers and rows.

    Args:
        images: What should be an iterable of images.

    Raises:
        InputError: If it is one image, no list or a table.
    """
    is_numbers = isinstance(images, np.ndarray) and images.dtype.kind not in "OUT"  # else: paths
    is_one = is_numbers and images.ndim < 4  # type: ignore[attr-defined]
    is_one |= isinstance(images, str | bytes | os.PathLike | Image.Image) or hasattr(images, "read")
    if is_one:
        raise InputError(
            f"images must be a list of images, got one: {image_name(images)}; "  # type: ignore[arg-type]
            "put it in a list, as in [image]"
        )
    if not (isinstance(images, np.ndarray) and images.ndim == 4):
        items_of(images, "images must be a list of images")


def check_is_image(image: object) -> None:
    """Raise if a value is no image at all; whether it can be read is seen when it is read.

    Args:
        image: What should be an image.

    Raises:
        InputError: If it is of another type, dtype or shape.
    """
    _check_source(image, allow_urls=True)


def default_max_pixels() -> int:
    """Return how many pixels one image may have: as many as fit into :func:`image_memory`.

    Returns:
        134 million on a machine with 4 GiB or more, fewer on a smaller one.
    """
    return image_memory().limit // BYTES_PER_PIXEL


def image_name(source: ImageInput) -> str:
    """Return the name of an image for messages: its path or URL, else its type.

    Args:
        source: The image.

    Returns:
        For example "holiday/beach.jpg" or "<bytes>".
    """
    if isinstance(source, bytes):
        return "<bytes>"
    if isinstance(source, np.ndarray):
        return "<array>"
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", "") or "<PIL image>")
    name = getattr(source, "name", None)  # an open file has one; a number is a descriptor
    return name if isinstance(name, str) and name else "<file>"


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
    _check_source(source, allow_urls=allow_urls)
    head = bytearray()
    try:
        image = _read(source, DecodeOptions(limit, target, reserve), head)
    except Exception as error:  # on damaged files Pillow raises nearly any
        raise ImageReadError(image_name(source), reason_for(error, bytes(head))) from error
    if image.missing_share is not None:
        warn_truncated(image_name(source), image.missing_share)
    return image


def _check_source(source: object, *, allow_urls: bool) -> None:
    if isinstance(source, np.ndarray):
        _check_array(source)
    elif isinstance(source, str):
        if _is_url(source):
            _check_url(source, allow_urls=allow_urls)
    elif isinstance(source, io.TextIOBase):
        raise InputError('an image file must be open in binary mode ("rb"), got a text file')
    elif not isinstance(source, bytes | Image.Image | os.PathLike) and not hasattr(source, "read"):
        raise InputError(
            "an image must be a path, bytes, an open binary file, a PIL image or a uint8 array, "
            f"got {type(source).__name__}"
        )


def _check_array(array: NDArray[np.generic]) -> None:
    if array.dtype != np.uint8:
        raise InputError(f"an image array must be uint8 with values 0 to 255, got {array.dtype}")
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or array.size == 0:
        raise InputError(
            "an image array must have shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) "
            f"with H and W at least 1, got {array.shape}"
        )


def _is_url(text: str) -> bool:
    scheme, separator, _ = text.partition("://")
    # One letter is a drive on Windows.
    return bool(separator) and len(scheme) > 1 and scheme.replace("+", "").isalnum()


def _check_url(url: str, *, allow_urls: bool) -> None:
    if url.partition("://")[0].lower() not in ("http", "https"):
        raise InputError(f"only http:// and https:// URLs can be read, got {url!r}")
    if not allow_urls:
        raise InputError(f"{url!r} is a URL, and nothing is fetched unless allow_urls=True is set")


def _read(source: ImageInput, options: DecodeOptions, head: bytearray) -> DecodedImage:
    """Read a source; head takes its first bytes, for the message if that fails."""
    if isinstance(source, Image.Image):
        return decode_image(source, options)
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, bytes):
        return _decode(io.BytesIO(source), "", options, head)
    if isinstance(source, str) and _is_url(source):
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
