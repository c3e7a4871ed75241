"""Near duplicates in embeddings: of images that mean the same, the first is kept.

Shapes: N images, D dimensions, K kept ones.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings, check_embeddings
from clipkit.errors import InputError
from clipkit.progress import Progress

_BLOCK = 2048  # rows compared with as many others at once: matrices of 16 MB


class NearDuplicates(NamedTuple):
    """What each image is a near duplicate of."""

    original: NDArray[np.intp]  # (N,), number of a kept image before it; -1: is kept itself
    cosine: NDArray[np.float32]  # (N,), to the original; of kept images 0


def find_near_duplicates(
    embeddings: Embeddings, *, epsilon: float, progress: Progress | None = None
) -> NearDuplicates:
    """Return which images are as good as the same as an earlier one that is kept.

    One after another, an image is kept unless its cosine to one that is kept already is above
    1 - epsilon. So no two kept images are that close, every other is that close to a kept one,
    and chains ("a is like b, b is like c") do not grow. SemDeDup's own code drops what is close
    to any earlier image, kept or not, and compares within clusters of k-means only; here
    everything is compared. 100,000 embeddings of 384 numbers took half a minute on two cores, and
    ten times as many take a hundred times as long: an hour or so.

    Args:
        embeddings: Shape (N, D), rows of norm 1, those to be preferred first.
        epsilon: From 1e-6, which is what float32 can tell, to 2. What is right depends on the
            model: look at what is dropped.
        progress: Called after every block of images with (done, total).

    Returns:
        For each image that is not kept, a kept one that it is too close to.

    Raises:
        InputError: If epsilon is out of range, or rows are not of norm 1.

    Source:
        Abbas et al. 2023, "SemDeDup" (arXiv 2303.09540), section 3; facebookresearch/SemDeDup,
        ``semdedup.py``.

    Example:
        >>> found = find_near_duplicates(np.array([[1, 0], [0, 1], [0.8, 0.6]]), epsilon=0.3)
        >>> found.original.tolist()
        [-1, -1, 0]
    """
    if not _MIN_EPSILON <= epsilon <= 2:
        raise InputError(f"epsilon must be {_MIN_EPSILON:g} to 2, got {epsilon:g}")
    embeddings = check_embeddings(embeddings)
    num_rows = len(embeddings)
    original = np.full(num_rows, -1, dtype=np.intp)
    cosine = np.full(num_rows, 1 - epsilon, dtype=np.float32)  # of the closest one so far
    kept = np.empty(0, dtype=np.intp)
    for start in range(0, num_rows, _BLOCK):
        rows = slice(start, min(start + _BLOCK, num_rows))
        for before in range(0, len(kept), _BLOCK):
            some = kept[before : before + _BLOCK]
            cosines = embeddings[rows] @ embeddings[some].T
            closest = cosines.argmax(axis=1)
            nearness = cosines.max(axis=1)
            is_closer = nearness > cosine[rows]
            original[rows][is_closer] = some[closest[is_closer]]
            cosine[rows][is_closer] = nearness[is_closer]
        new = start + np.flatnonzero(original[rows] < 0)
        _compare_within(new, embeddings, original, cosine)
        kept = np.concatenate([kept, new[original[new] < 0]])
        if progress:
            progress(rows.stop, num_rows)
    cosine[original < 0] = 0
    return NearDuplicates(original, cosine)


def _compare_within(
    rows: NDArray[np.intp],
    embeddings: Embeddings,
    original: NDArray[np.intp],
    cosine: NDArray[np.float32],
) -> None:
    """Find the originals of some rows among themselves; cosine holds how near is too near."""
    cosines = embeddings[rows] @ embeddings[rows].T
    is_near = np.triu(cosines > cosine[rows], k=1)  # [earlier, later]
    is_kept = np.ones(len(rows), dtype=bool)
    for later in np.flatnonzero(is_near.any(axis=0)):
        rivals = np.flatnonzero(is_near[:, later] & is_kept)
        if len(rivals):
            closest = rivals[cosines[rivals, later].argmax()]
            is_kept[later] = False
            original[rows[later]] = rows[closest]
            cosine[rows[later]] = cosines[closest, later]


_MIN_EPSILON = 1e-6
