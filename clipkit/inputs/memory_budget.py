"""A budget of memory for images being decoded in several threads."""

import contextlib
import functools
import threading
from collections import deque
from collections.abc import Callable, Iterator

BYTES_PER_PIXEL = 8
"""Of an RGB image while it is turned upright: Pillow holds it twice, with 4 bytes a pixel."""

Hold = Callable[[int], None]
"""Called with how many bytes an image needs; returns when they are there."""


class MemoryBudget:
    """Bytes that images share, first come, first served.

    Nobody who holds some ever waits for more, so nobody waits for ever.

    Args:
        limit: How many bytes are held at most. Who needs more than that gets it alone.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def share(self) -> Iterator[Hold]:
        """Give one image its share, as long as the block lasts.

        Yields:
            What the image's decoder calls once it knows how much it needs. Later calls, for what
            lies inside the image, such as a RAW file's preview, change nothing.
        """
        held = 0

        def hold(amount: int) -> None:
            nonlocal held
            if not held:
                self._take(amount)
                held = amount

        try:
            yield hold
        finally:
            with self._changed:
                self._held -= held
                self._changed.notify_all()

    def _take(self, amount: int) -> None:
        turn = object()
        with self._changed:
            self._waiting.append(turn)
            try:
                self._changed.wait_for(lambda: self._waiting[0] is turn and self._fits(amount))
                self._held += amount
            finally:
                self._waiting.remove(turn)
                self._changed.notify_all()  # the next one may fit too

    def _fits(self, amount: int) -> bool:
        return not self._held or self._held + amount <= self.limit


@functools.cache
def image_memory() -> MemoryBudget:
    """Return what all images of this process share: a quarter of the memory, at most 1 GiB.

    With the embedded model an index of images of any size is then made in 1.5 GB.
    """
    import psutil

    return MemoryBudget(min(int(psutil.virtual_memory().total) // 4, 1 << 30))
