"""Which images of datasets have equal bytes, found while few of them are read.

Files can be equal only if their sizes are and their first and last bytes; only those are read whole
and compared by their digests.
"""

from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from clipkit.data.image_ends import NO_HASH, NO_SIZE
from clipkit.data.pair import PairDataset, image_digest
from clipkit.errors import ImageReadError


def equal_images(dataset: PairDataset) -> NDArray[np.int64]:
    """Return which pairs have the same image.

    Args:
        dataset: The pairs.

    Returns:
        For each pair the row of the first one whose image has equal bytes, shape (N,), or is equal
        by what the dataset knows. An image that cannot be read is equal to no other.
    """
    known = dataset.first_rows()
    if known is not None:
        return known
    firsts = np.arange(len(dataset), dtype=np.int64)
    sizes = dataset.image_sizes()
    rows = np.flatnonzero(_is_repeated(sizes) & (sizes != NO_SIZE))
    hashes = dataset.ends_hashes(rows)
    rows = rows[_is_repeated(hashes) & (hashes != NO_HASH)]
    first_of: dict[bytes, int] = {}
    for row in rows.tolist():
        digest = digest_of(dataset, row)
        if digest is not None:
            firsts[row] = first_of.setdefault(digest, row)
    return firsts


def digest_of(dataset: PairDataset, row: int) -> bytes | None:
    """Return the hash of a whole image; None if it cannot be read."""
    with suppress(ImageReadError):  # it is reported when it is trained or measured on
        return image_digest(dataset[row].image)
    return None


def _is_repeated(values: NDArray[np.integer]) -> NDArray[np.bool_]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    repeated: NDArray[np.bool_] = counts[inverse] > 1
    return repeated
