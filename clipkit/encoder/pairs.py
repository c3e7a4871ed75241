"""The images of a dataset of image-text pairs to embeddings, batch by batch.

Shapes: N readable images, D dimensions.
"""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clipkit.arguments import check_progress
from clipkit.data.pair import Pair, PairDataset
from clipkit.embeddings import Embeddings
from clipkit.encoder.encoder import Encoder
from clipkit.errors import ImageReadError
from clipkit.inputs.image_input import ImageInput
from clipkit.progress import Progress


class EmbeddedPair(NamedTuple):
    """A pair whose image could be read, without the image."""

    row: int  # in its source
    name: str  # as `image_name` has it
    captions: tuple[str, ...]


class UnreadPair(NamedTuple):
    """A pair whose image could not be read."""

    row: int  # in its source
    error: ImageReadError


@dataclass(frozen=True)
class PairBatch:
    """Some pairs of a source, in the order of their rows."""

    pairs: list[EmbeddedPair]
    embeddings: Embeddings  # of their images, (K, D)
    skipped: list[UnreadPair]


@dataclass(frozen=True)
class EmbeddedPairs:
    """All pairs of a source."""

    pairs: list[EmbeddedPair]
    embeddings: Embeddings  # of their images, (N, D)
    skipped: list[UnreadPair] = field(default_factory=list)


def image_name(pair: Pair) -> str:
    """Return what to call a pair: the path of its image, or its own name if that is no file."""
    is_file = isinstance(pair.image, str | Path)
    return str(pair.image) if is_file else pair.name


def stream_pairs(
    encoder: Encoder, source: PairDataset, *, progress: Progress | None = None
) -> Generator[PairBatch]:
    """Yield pairs with the embeddings of their images, in memory that does not grow.

    Args:
        encoder: The model.
        source: The pairs.
        progress: Called after every batch with (done, total).

    Yields:
        Batches. Each row of the source is in exactly one, with its embedding or with the reason
        why there is none; rows of which the source has no image are in the last.
    """
    check_progress(progress)
    handed_out: dict[int, EmbeddedPair] = {}  # by position among the images
    unread: list[UnreadPair] = []  # those that gave no image to hand out

    def images() -> Iterator[ImageInput]:
        position = 0
        for row in range(len(source)):
            try:
                pair = source[row]
            except ImageReadError as error:
                unread.append(UnreadPair(row, error))
                continue
            handed_out[position] = EmbeddedPair(row, image_name(pair), pair.captions)
            position += 1
            yield pair.image

    done = 0
    with closing(encoder.stream_images(images())) as batches:
        for batch in batches:
            pairs = [handed_out.pop(position) for position in batch.positions]
            # An image in memory carries no name of its own.
            bad = [(handed_out.pop(at), error.reason) for at, error in batch.skipped]
            skipped = [UnreadPair(p.row, ImageReadError(p.name, reason)) for p, reason in bad]
            yield PairBatch(pairs, batch.embeddings, skipped)
            done += len(pairs) + len(skipped)
            if progress:
                progress(done, len(source))
    if unread:
        yield PairBatch([], np.empty((0, encoder.embed_dim), dtype=np.float32), unread)
        if progress:
            progress(len(source), len(source))


def embed_pairs(
    encoder: Encoder, source: PairDataset, *, progress: Progress | None = None
) -> EmbeddedPairs:
    """Return all pairs of a source with the embeddings of their images.

    Args:
        encoder: The model.
        source: The pairs.
        progress: Called after every batch with (done, total).

    Returns:
        The readable pairs in the order of their rows, and why others are missing.
    """
    pairs: list[EmbeddedPair] = []
    rows = [np.empty((0, encoder.embed_dim), dtype=np.float32)]
    skipped: list[UnreadPair] = []
    with closing(stream_pairs(encoder, source, progress=progress)) as batches:
        for batch in batches:
            pairs += batch.pairs
            rows.append(batch.embeddings)
            skipped += batch.skipped
    return EmbeddedPairs(pairs, np.concatenate(rows), sorted(skipped))
