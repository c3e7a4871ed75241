"""Near-duplicates among embeddings by their cosines: which pairs are near, and which rows to keep.

Every row is compared with every other, a block of rows with a block at a time.

Shapes: N embeddings, D dimensions, R and M rows of two blocks.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import check_progress
from clipkit.embeddings import Embeddings, check_embeddings
from clipkit.errors import InputError
from clipkit.progress import Progress

_BLOCK = 2048  # rows compared with as many others at once: matrices of 16 MB
_MIN_EPSILON = 1e-6


class NearPairs(NamedTuple):
    """Which rows of two blocks are near each other."""

    rows: NDArray[np.intp]  # (R,)
    others: NDArray[np.intp]  # (M,)
    is_near: NDArray[np.bool_]  # (R, M), with at least one True


def near_pairs(
    embeddings: NDArray[np.floating[Any]], cosine: float, *, progress: Progress | None = None
) -> Iterator[NearPairs]:
    """Yield which rows are near each other, each pair once, block by block where there are any.

    Args:
        embeddings: Shape (N, D), rows of norm 1, float16 or float32.
        cosine: Rows are near from this cosine on.
        progress: Called after every block with (done, total), counted in rows.

    Yields:
        Pairs; the first row of each is the earlier one.
    """
    check_progress(progress)
    num_rows = len(embeddings)
    num_pairs = num_rows * (num_rows + 1) // 2
    done = 0
    for start in range(0, num_rows, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, num_rows))
        following = np.arange(start, num_rows)
        for others, cosines in _cosine_blocks(embeddings[rows], embeddings, following):
            is_near = cosines >= cosine
            if others[0] == start:
                is_near = np.triu(is_near, k=1)
            if is_near.any():
                yield NearPairs(rows, others, is_near)
            done += is_near.size
            if progress:
                progress(min(num_rows, round(num_rows * done / num_pairs)), num_rows)


def rows_near_another(
    embeddings: NDArray[np.floating[Any]], cosine: float, *, progress: Progress | None = None
) -> NDArray[np.intp]:
    """Return the rows that have another row near them: the only ones that can be copies.

    Args:
        embeddings: Shape (N, D), rows of norm 1, float16 or float32.
        cosine: Rows are near from this cosine on.
        progress: Called after every block with (done, total).

    Returns:
        Row numbers, ascending.
    """
    has_near = np.zeros(len(embeddings), dtype=bool)
    for rows, others, is_near in near_pairs(embeddings, cosine, progress=progress):
        has_near[rows] |= is_near.any(axis=1)
        has_near[others] |= is_near.any(axis=0)
    return np.flatnonzero(has_near)


class NearDuplicates(NamedTuple):
    """What each row is a near-duplicate of."""

    original: NDArray[np.intp]  # (N,), number of a kept row before it; -1: is kept itself
    cosine: NDArray[np.float32]  # (N,), to the original; of kept rows 0


def mark_near_duplicates(
    embeddings: Embeddings, *, epsilon: float, progress: Progress | None = None
) -> NearDuplicates:
    """Return which rows are near-duplicates of an earlier row that is kept.

    One after another, a row is kept unless its cosine to one that is kept already is above
    1 - epsilon. So no two kept rows are that close, every other is that close to a kept one,
    and chains ("a is like b, b is like c") do not grow. SemDeDup's own code drops what is close
    to any earlier row, kept or not, and compares within clusters of k-means only; here
    everything is compared. 100,000 embeddings of 384 numbers took half a minute on two cores, and
    ten times as many take a hundred times as long: an hour or so.

    Args:
        embeddings: Shape (N, D), rows of norm 1, those to be preferred first.
        epsilon: From 1e-6, which is what float32 can tell, to 2. What is right depends on the
            model: look at what is dropped.
        progress: Called after every block of rows with (done, total).

    Returns:
        For each row that is not kept, a kept one that it is too close to.

    Raises:
        InputError: If epsilon is out of range, or rows are not of norm 1.

    Source:
        Abbas et al. 2023, "SemDeDup" (arXiv 2303.09540), section 3; facebookresearch/SemDeDup,
        ``semdedup.py``.

    Example:
        >>> found = mark_near_duplicates(np.array([[1, 0], [0, 1], [0.8, 0.6]]), epsilon=0.3)
        >>> found.original.tolist()
        [-1, -1, 0]
    """
    check_progress(progress)
    if not _MIN_EPSILON <= epsilon <= 2:
        raise InputError(f"epsilon must be {_MIN_EPSILON:g} to 2, got {epsilon:g}")
    embeddings = check_embeddings(embeddings)
    num_rows = len(embeddings)
    original = np.full(num_rows, -1, dtype=np.intp)
    cosine = np.full(num_rows, 1 - epsilon, dtype=np.float32)  # of the closest one so far
    kept = np.empty(0, dtype=np.intp)
    for start in range(0, num_rows, _BLOCK):
        rows = slice(start, min(start + _BLOCK, num_rows))
        for some, cosines in _cosine_blocks(embeddings[rows], embeddings, kept):
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
    """Find the originals of some rows among themselves; cosine holds that of each row's closest."""
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


def _cosine_blocks(
    block: NDArray[np.floating[Any]],
    embeddings: NDArray[np.floating[Any]],
    others: NDArray[np.intp],
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
    """Yield the cosines of R rows to others, with the numbers of up to _BLOCK others at a time."""
    # float32 by blocks: NumPy multiplies float16 ten times slower.
    left = block.astype(np.float32, copy=False)
    for start in range(0, len(others), _BLOCK):
        some = others[start : start + _BLOCK]
        yield some, left @ embeddings[some].astype(np.float32, copy=False).T
