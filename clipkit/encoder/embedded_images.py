"""Images of a dataset as embeddings, kept in the user's cache so that an evaluation is resumed."""

import hashlib
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit.data.pair import PairDataset
from clipkit.embeddings import Embeddings
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.pairs import UnreadPair, embed_pairs
from clipkit.encoder.stored_images import embed_and_store
from clipkit.errors import ImageReadError, InputError
from clipkit.paths import cache_directory
from clipkit.progress import Callbacks

_MOST_BYTES = 2 << 30  # of all embeddings that are kept; those used longest ago go first


@dataclass(frozen=True)
class EmbeddedImages:
    """The readable images of a dataset as embeddings."""

    embeddings: Embeddings  # shape (N, D), rows of norm 1
    rows: NDArray[np.intp]  # of the dataset, shape (N,), ascending
    skipped: tuple[ImageReadError, ...]  # the others, with those that the listing skipped


def embed_images(
    encoder: Encoder, dataset: PairDataset, label: str, callbacks: Callbacks
) -> EmbeddedImages:
    """Return a dataset's images as embeddings; those of an earlier call are taken from the cache.

    Args:
        encoder: The model.
        dataset: The pairs.
        label: What the progress is called.
        callbacks: For messages and progress.

    Returns:
        The embeddings of those that can be read.

    Raises:
        InputError: If none can be read.
    """
    with callbacks.progress_for(label) as progress:
        progress(0, len(dataset))
        directory = _directory(encoder, dataset)
        rows: NDArray[np.float32] | None = None
        skipped: Sequence[UnreadPair] = ()
        if directory is not None:
            try:
                stored = embed_and_store(
                    encoder, dataset, directory, key=directory.name, progress=progress
                )
                readable, skipped = np.flatnonzero(~stored.is_bad), stored.skipped
                rows = np.asarray(stored.rows[readable])
                _prune(directory)
            except OSError as error:
                callbacks.say(f"embeddings are not kept, {error.strerror or error}: {directory}")
        if rows is None:
            found = embed_pairs(encoder, dataset, progress=progress)
            readable = np.array([pair.row for pair in found.pairs], dtype=np.intp)
            rows, skipped = found.embeddings, found.skipped
    reasons = (*dataset.skipped, *(unread.error for unread in sorted(skipped)))
    if not len(readable):
        first = f"; the first: {reasons[0]}" if reasons else ""
        raise InputError(f"none of {len(dataset)} images can be read{first}")
    return EmbeddedImages(rows, readable, reasons)


def _directory(encoder: Encoder, dataset: PairDataset) -> Path | None:
    """Return where embeddings are kept, by all that decides them; None if nothing tells that."""
    if encoder.may_weights_change:  # from then on the space_id need not be theirs
        return None
    decided_by = (
        encoder.space_id,
        encoder.engine,
        encoder.precision,
        encoder.decode,
        encoder.max_pixels,
        dataset.fingerprint,
    )
    key = hashlib.sha256(repr(decided_by).encode("utf-8", "surrogatepass")).hexdigest()[:24]
    return cache_directory() / "evaluations" / key


def _prune(used: Path) -> None:
    """Delete what was used longest ago, once there is too much."""
    with suppress(OSError):
        used.touch()
        sizes = {
            directory: sum(path.stat().st_size for path in directory.iterdir())
            for directory in used.parent.iterdir()
        }
        for directory in sorted(sizes, key=lambda place: place.stat().st_mtime):
            if sum(sizes.values()) <= _MOST_BYTES or directory == used:
                return
            shutil.rmtree(directory)
            del sizes[directory]
