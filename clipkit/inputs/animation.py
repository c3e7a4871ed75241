"""The first frame of an animated GIF or WebP, cropped to what it covers of the canvas.

Around such a frame viewers show whatever lies behind the image.
"""

from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.GifImagePlugin import GifImageFile
from PIL.WebPImagePlugin import WebPImageFile

from clipkit.inputs.deferred_image import DeferredImage

_Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels

_MAX_CHUNKS = 100  # of a WebP, before its first frame


def first_frame(image: Image.Image, file: BinaryIO) -> Image.Image:
    """Return an image as large as its first frame.

    Args:
        image: An image that Pillow opened and has not loaded.
        file: Its file; its position is kept.

    Returns:
        The image itself if the frame covers it.
    """
    box = None
    if isinstance(image, GifImageFile) and image.tile:
        box = image.tile[0][1]
    elif isinstance(image, WebPImageFile) and image.is_animated:
        box = _webp_box(file)
    if box is None or box == (0, 0, *image.size) or _is_empty(box, image.size):
        return image

    def decode() -> NDArray[np.uint8]:
        frame = image.crop(box)
        return np.asarray(frame.convert("RGBA" if frame.has_transparency_data else "RGB"))

    size = (box[2] - box[0], box[3] - box[1])
    canvas = -(-image.width * image.height // (size[0] * size[1]))
    cost = (3 if isinstance(image, WebPImageFile) else 1) * canvas + 2
    return DeferredImage(image.format or "", size, decode, exif=image.getexif(), pixel_cost=cost)


def _is_empty(box: _Box, size: tuple[int, int]) -> bool:
    left, top, right, bottom = box
    return not (0 <= left < right <= size[0] and 0 <= top < bottom <= size[1])


def _webp_box(file: BinaryIO) -> _Box | None:
    """Return where the first frame of an animation lies; None if none is found."""
    place = file.tell()
    try:
        file.seek(12)
        for _ in range(_MAX_CHUNKS):
            head = file.read(8)
            length = int.from_bytes(head[4:], "little")
            if head[:4] == b"ANMF":
                return _anmf_box(file.read(12))
            if len(head) < 8:
                return None
            file.seek(length + length % 2, 1)
        return None
    finally:
        file.seek(place)


def _anmf_box(header: bytes) -> _Box:
    left, top, right, bottom = (int.from_bytes(header[i : i + 3], "little") for i in (0, 3, 6, 9))
    return 2 * left, 2 * top, 2 * left + right + 1, 2 * top + bottom + 1
