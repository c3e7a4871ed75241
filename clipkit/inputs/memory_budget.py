"""The memory that decoding an image takes, and the budget that all threads share for it."""

import contextlib
import functools
import threading
from collections import deque
from collections.abc import Callable, Iterator

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from clipkit.inputs.deferred_image import DeferredImage
from clipkit.inputs.read_errors import UnreadableError

BYTES_PER_PIXEL = 8
"""Of an RGB image while it is turned upright: Pillow holds it twice, with 4 bytes a pixel."""

Reserve = Callable[[int], None]
"""Called with how many bytes an image needs; returns when they are free."""


# --- the budget ---------------------------------------------------------------------------------


class MemoryBudget:
    """Bytes that images being decoded in several threads share, first come, first served.

    A thread that holds some never waits for more, so there is no deadlock.

    Args:
        limit: How many bytes are held at most. An image that needs more is decoded when no other
            holds any.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def reservation(self) -> Iterator[Reserve]:
        """Reserve memory for one image, as long as the block lasts.

        Yields:
            A function for the image's decoder to call once it knows how much it needs. Later calls,
            for what lies inside the image, such as a RAW file's preview, change nothing.
        """
        held = 0

        def reserve(amount: int) -> None:
            nonlocal held
            if not held:
                self._take(amount)
                held = amount

        try:
            yield reserve
        finally:
            with self._changed:
                self._held -= held
                self._changed.notify_all()

    def _take(self, amount: int) -> None:
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                self._changed.wait_for(lambda: self._waiting[0] is ticket and self._fits(amount))
                self._held += amount
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()  # the next one may fit too

    def _fits(self, amount: int) -> bool:
        return not self._held or self._held + amount <= self.limit


@functools.cache
def image_memory() -> MemoryBudget:
    """Return the bytes that all images share: a quarter of the memory, at most 1 GiB.

    With the embedded model an index of images of any size is then made in 1.5 GB.
    """
    import psutil

    return MemoryBudget(min(int(psutil.virtual_memory().total) // 4, 1 << 30))


# --- what one image takes -----------------------------------------------------------------------


def check_size(image: Image.Image, full: tuple[int, int], max_pixels: int) -> int:
    """Refuse an image that is too large to decode; return how much memory it takes.

    Args:
        image: The image, not loaded yet, as large as it will be decoded.
        full: The size the image states.
        max_pixels: The limit.

    Returns:
        How many RGB pixels, of BYTES_PER_PIXEL, need as much memory as decoding it.

    Raises:
        UnreadableError: If there are more than allowed, or none.
    """
    if 0 in image.size:
        raise UnreadableError(f"has no pixels: its size is {full[0]} x {full[1]}")
    pixels = image.width * image.height * _pixel_cost(image)
    if isinstance(image, JpegImageFile) and image.info.get("progressive"):
        pixels += _coefficient_bytes(image, full) // BYTES_PER_PIXEL
    check_pixels(pixels, full, max_pixels)
    return pixels


def check_pixels(pixels: int, full: tuple[int, int], max_pixels: int) -> None:
    """Refuse an image whose decoding would hold more pixels than allowed.

    Args:
        pixels: How many RGB pixels take as much memory as decoding.
        full: The size the image states.
        max_pixels: The limit.

    Raises:
        UnreadableError: If there are more.
    """
    if pixels > max_pixels:
        raise UnreadableError(
            f"is too large: its {full[0]} x {full[1]} pixels need {pixels / 1e6:.4g} megapixels "
            f"of memory, the limit is {max_pixels / 1e6:.4g}; raise it with max_pixels= or "
            "--max-megapixels"
        )


def _pixel_cost(image: Image.Image) -> int:
    """Return how many RGB pixels take the memory of one pixel with its copies, rounded up.

    Measured with 24 megapixels, bytes a pixel: grey 5, RGB 4, turned 8; 16 bits and floating point
    12, transparent 13; AVIF 9, HEIC 8, WebP 16, transparent 21, JPEG 2000 20.
    """
    if isinstance(image, DeferredImage):
        return image.pixel_cost
    if image.format in ("WEBP", "JPEG2000"):
        return 3
    is_plain = image.mode in ("1", "L", "P", "RGB", "CMYK", "YCbCr") and image.format != "AVIF"
    return 1 if is_plain and "transparency" not in image.info else 2


def _coefficient_bytes(image: JpegImageFile, full: tuple[int, int]) -> int:
    """Return the bytes that a progressive JPEG holds at any scale: two for every sample."""
    factors = [(across, down) for _, across, down, _ in image.layer]
    finest = max(across for across, _ in factors) * max(down for _, down in factors)
    return 2 * full[0] * full[1] * sum(across * down for across, down in factors) // max(finest, 1)
