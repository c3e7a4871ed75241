"""What rules want to know of a picture before a model sees it: its size."""

from pathlib import Path

from clipkit.inputs.details import read_details
from clipkit.inputs.images import ImageInput, Size, borrow_image


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
