"""A Pillow image whose pixels another library decodes when they are first loaded."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from PIL._imaging import PixelAccess


class DeferredImage(Image.Image):
    """An image of which only the header has been read, like those that Pillow opens.

    Args:
        image_format: What it is, for example "TIFF".
        size: (width, height) in pixels, as stored.
        decode: Returns the pixels, shape (H, W, 3) or (H, W, 4), uint8. Called once.
        exif: The EXIF data of its header, the orientation included.
        pixel_cost: How many RGB pixels of a plain image take the memory of one pixel of this one
            while it is decoded.
    """

    def __init__(
        self,
        image_format: str,
        size: tuple[int, int],
        decode: Callable[[], NDArray[np.uint8]],
        *,
        exif: Image.Exif,
        pixel_cost: int,
    ) -> None:
        super().__init__()
        self.format = image_format
        self.pixel_cost = pixel_cost
        self._size = size
        self._mode = "RGB"
        self._decode: Callable[[], NDArray[np.uint8]] | None = decode
        exif._loaded = True  # so that Pillow returns it as it is
        self._exif = exif

    def load(self) -> "PixelAccess | None":
        """Decode the pixels, if that has not been done."""
        if self._decode is not None:
            decode, self._decode = self._decode, None
            image = Image.fromarray(decode())
            self.im, self._mode, self._size = image.im, image.mode, image.size
        return super().load()
