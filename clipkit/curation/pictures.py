"""What rules want to know of a picture before a model sees it: its size, and its very bytes."""

import hashlib
from pathlib import Path

from clipkit.errors import ImageReadError
from clipkit.inputs.details import read_details
from clipkit.inputs.files import open_file
from clipkit.inputs.images import ImageInput, Size, borrow_image
from clipkit.inputs.reasons import UnreadableError, reason_for


def picture_size(image: ImageInput, *, max_pixels: int | None = None) -> Size:
    """Return the size of a picture, upright; of a file only the header is read.

    Args:
        image: The picture.
        max_pixels: How many pixels may be decoded of one that is no file.

    Returns:
        (width, height) in pixels.

    Raises:
        ImageReadError: If it is missing or is no picture.
    """
    if isinstance(image, str | Path):
        details = read_details(image)
        return details.width, details.height
    with borrow_image(image, target=(1, 1), max_pixels=max_pixels) as picture:
        return picture.size


def picture_digest(image: ImageInput) -> bytes | None:
    """Return what is equal for pictures with the same bytes, and for no others.

    Args:
        image: The picture.

    Returns:
        32 bytes; None for a picture that is neither a file nor encoded bytes.

    Raises:
        ImageReadError: If its file cannot be read.
    """
    if isinstance(image, bytes):
        return hashlib.sha256(image).digest()
    if not isinstance(image, str | Path):
        return None
    digest = hashlib.sha256()
    try:
        with open_file(Path(image)) as file:
            while part := file.read(_PART):
                digest.update(part)
    except (OSError, UnreadableError) as error:
        raise ImageReadError(image, reason_for(error, b"")) from error
    return digest.digest()


_PART = 2**20  # bytes read at once
