"""How long indexing takes on this machine, told by a few of the images."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clipkit.encoder.encoder import Encoder

TRIED = 8  # images: some seconds with the largest models
LEAST = 200  # images whose time is worth telling
_LEAST_SECONDS = 0.5  # of indexing that a speed is told by


@dataclass(frozen=True)
class RowCost:
    """What an image takes in the index: this many rows at most, of so many dimensions."""

    rows_each: int
    embed_dim: int

    @property
    def bytes_each(self) -> int:
        """On the disk, in half precision."""
        return 2 * self.rows_each * self.embed_dim


@dataclass(frozen=True)
class IndexingEstimate:
    """How many images there are to embed, and how long each takes."""

    num_images: int
    seconds_each: float
    cost: RowCost | None = None  # None: not told

    @property
    def seconds(self) -> float:
        """How long all of them take."""
        return self.num_images * self.seconds_each

    def __str__(self) -> str:
        """Return it as a sentence without its end; with crops, with the room that they take."""
        told = (
            f"{self.num_images:,} images to index take about {_in_words(self.seconds)} on this "
            f"machine, at {self.seconds_each:.2g} s an image"
        )
        if self.cost is None or self.cost.rows_each == 1:
            return told
        megabytes = self.num_images * self.cost.bytes_each / 1e6
        return (
            f"{told}, and {megabytes:,.0f} MB on the disk, with {self.cost.rows_each} rows an image"
        )


def estimate_indexing(
    encoder: "Encoder", paths: Sequence[Path], *, clock: Callable[[], float] = time.monotonic
) -> IndexingEstimate:
    """Embed a few images of those to be indexed, and say how long all take.

    Args:
        encoder: Makes the embeddings.
        paths: The images, one or more.
        clock: Returns the time in seconds.

    Returns:
        The estimate, by images from the whole of the list. The first one is not counted, as it
        also starts the engine.
    """
    encoder.encode_readable_images(paths[:1])
    tried = [paths[number * len(paths) // TRIED] for number in range(min(TRIED, len(paths)))]
    start = clock()
    encoder.encode_readable_images(tried)
    return IndexingEstimate(len(paths), (clock() - start) / len(tried))


def pace_teller(
    num_images: int,
    tell: Callable[[IndexingEstimate], None],
    *,
    cost: RowCost | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Callable[[int], None]:
    """Return what watches an indexing go on, and tells once how long all of it takes.

    Args:
        num_images: How many there are to index.
        tell: Called once, as soon as the speed is known.
        cost: What each takes in the index; None: not told.
        clock: Returns the time in seconds.

    Returns:
        A function to call after every step with how many images are done. The first step is not
        counted, as it also starts the engine.
    """
    start: tuple[int, float] | None = None
    is_told = False

    def watch(num_done: int) -> None:
        nonlocal start, is_told
        if is_told:
            return
        now = clock()
        if start is None:
            start = num_done, now
        number, seconds = num_done - start[0], now - start[1]
        if number >= TRIED and seconds >= _LEAST_SECONDS:
            is_told = True
            tell(IndexingEstimate(num_images, seconds / number, cost))

    return watch


def _in_words(seconds: float) -> str:
    """Return a time in words, no more exact than an estimate is.

    Args:
        seconds: 0 or more.

    Returns:
        Such as "40 s", "12 min", "3.5 h" or "2.1 days".

    Example:
        >>> [_in_words(seconds) for seconds in (0.2, 89, 90, 5400, 200_000)]
        ['1 s', '89 s', '2 min', '1.5 h', '2.3 days']
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
