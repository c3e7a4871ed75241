"""What may be handed over as an image, and what is refused before anything is read.

Pillow is not imported here: a query of words has the types of images, and no image.
"""

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ForwardRef, TypeGuard, Union

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import items_of
from clipkit.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image
else:  # Pillow's class by its name, which `typing.get_type_hints` resolves once it is imported
    Image = ForwardRef("Image", module="PIL.Image")

# Not with |, which takes no name of a class.
ImageInput = Union[str, Path, bytes, BinaryIO, Image, NDArray[np.uint8]]  # noqa: UP007
"""A path, a URL where the caller allows it, an encoded image as bytes or as an open binary file,
a Pillow image, or a uint8 array of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)."""


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
    is_one |= isinstance(images, str | bytes | os.PathLike) or hasattr(images, "read")
    is_one |= is_pillow_image(images)
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
    check_source(image, allow_urls=True)


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
    if is_pillow_image(source):
        return str(getattr(source, "filename", "") or "<PIL image>")
    name = getattr(source, "name", None)  # an open file has one; a number is a descriptor
    return name if isinstance(name, str) and name else "<file>"


def check_source(source: object, *, allow_urls: bool) -> None:
    """Raise if a value is no image, or a URL that is not to be fetched.

    Args:
        source: What should be an image.
        allow_urls: Whether a text starting with http:// or https:// is fetched.

    Raises:
        InputError: If it is of another type, dtype or shape, or such a URL.
    """
    if isinstance(source, np.ndarray):
        _check_array(source)
    elif isinstance(source, str):
        if is_url(source):
            _check_url(source, allow_urls=allow_urls)
    elif isinstance(source, io.TextIOBase):
        raise InputError('an image file must be open in binary mode ("rb"), got a text file')
    elif not (
        isinstance(source, bytes | os.PathLike)
        or hasattr(source, "read")
        or is_pillow_image(source)
    ):
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


def is_url(text: str) -> bool:
    """Return whether a text is a URL of any kind, and not a path."""
    scheme, separator, _ = text.partition("://")
    # One letter is a drive on Windows.
    return bool(separator) and len(scheme) > 1 and scheme.replace("+", "").isalnum()


def _check_url(url: str, *, allow_urls: bool) -> None:
    if url.partition("://")[0].lower() not in ("http", "https"):
        raise InputError(f"only http:// and https:// URLs can be read, got {url!r}")
    if not allow_urls:
        raise InputError(f"{url!r} is a URL, and nothing is fetched unless allow_urls=True is set")


def is_pillow_image(value: object) -> "TypeGuard[Image]":
    """Return whether a value is a Pillow image: there is none while Pillow is not imported."""
    kind = getattr(sys.modules.get("PIL.Image"), "Image", None)
    return kind is not None and isinstance(value, kind)
