"""Images of a stream in batches: decoded in threads, then embedded.

Shapes: N images, K readable ones, D dimensions of the shared space.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import EmbeddingArray
from clipkit.errors import ImageReadError

Outcome = NDArray[np.float32] | ImageReadError
"""Pixel values of an image, shape (3, H, W), or the reason why there are none."""


@dataclass(frozen=True)
class EncodedBatch:
    """Some images of a stream, in order."""

    positions: list[int]  # of the rows, counted in the stream from 0
    embeddings: EmbeddingArray  # (K, D)
    skipped: list[tuple[int, ImageReadError]]  # position and reason of each unreadable image


@dataclass(frozen=True)
class EncodingReport:
    """Embeddings of the readable images, and why the others are missing."""

    positions: NDArray[np.intp]  # (K,), of the rows in the input
    embeddings: EmbeddingArray  # (K, D)
    skipped: list[tuple[int, ImageReadError]] = field(default_factory=list)


@dataclass
class DecodedBatch:
    """Some decoded images of a stream, in order."""

    positions: list[int] = field(default_factory=list)
    pixel_values: list[NDArray[np.float32]] = field(default_factory=list)
    skipped: list[tuple[int, ImageReadError]] = field(default_factory=list)


def in_batches(outcomes: Iterable[Outcome], batch_size: int) -> Iterator[DecodedBatch]:
    """Yield decoded images in batches, of which none waits for many unreadable ones.

    Args:
        outcomes: One an image, in order.
        batch_size: Readable images a batch; so many unreadable ones end it too.

    Yields:
        Batches in the order of the images; each image is in exactly one.
    """
    batch = DecodedBatch()
    for position, outcome in enumerate(outcomes):
        if isinstance(outcome, ImageReadError):
            batch.skipped.append((position, outcome))
        else:
            batch.positions.append(position)
            batch.pixel_values.append(outcome)
        if batch_size in (len(batch.positions), len(batch.skipped)):
            yield batch
            batch = DecodedBatch()
    if batch.positions or batch.skipped:
        yield batch
