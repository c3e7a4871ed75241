"""Arithmetic on embeddings: rows of L2 norm 1 in one shared space.

Shapes: N and M rows, D dimensions. No model, no file, no picture.
"""

import operator
from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipkit.errors import InputError

Embeddings = NDArray[np.float32]
"""float32, shape (N, D), every row of L2 norm 1."""


def normalize_rows(features: ArrayLike) -> Embeddings:
    """Return features scaled to rows of L2 norm 1.

    Args:
        features: Tower outputs of any norm, shape (N, D).

    Returns:
        Embeddings, float32, shape (N, D).

    Raises:
        InputError: If the shape is not (N, D), a value is not finite or a row is zero.

    Example:
        >>> normalize_rows([[3.0, 4.0]]).tolist()
        [[0.6000000238418579, 0.800000011920929]]
    """
    rows = np.asarray(features, dtype=np.float32)
    if rows.ndim != 2:
        raise InputError(f"features must have shape (N, D), got {rows.shape}")
    # float64 keeps the norm finite for features as large as float32 allows.
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    bad = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
    if bad.size:
        raise InputError(
            f"row {bad[0]} of the features is zero or not finite, so it has no direction; "
            f"{bad.size} of {len(rows)} rows are like this"
        )
    embeddings: Embeddings = (rows / norms[:, None]).astype(np.float32)
    return embeddings


def cosine_similarity(first: ArrayLike, second: ArrayLike) -> NDArray[np.float32]:
    """Return the cosine of every row of one set of embeddings to every row of another.

    Args:
        first: Embeddings, shape (N, D), rows of norm 1.
        second: Embeddings, shape (M, D), rows of norm 1.

    Returns:
        float32, shape (N, M), in [-1, 1]. Higher is closer.

    Raises:
        InputError: If the shapes do not fit together.

    Example:
        >>> cosine_similarity([[1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]).tolist()
        [[1.0, 0.0]]
    """
    left, right = np.asarray(first, dtype=np.float32), np.asarray(second, dtype=np.float32)
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
        raise InputError(
            f"embeddings must have shapes (N, D) and (M, D) with the same D, "
            f"got {left.shape} and {right.shape}"
        )
    cosines: NDArray[np.float32] = np.clip(left @ right.T, -1.0, 1.0)
    return cosines


def top_k(scores: ArrayLike, k: int) -> NDArray[np.intp]:
    """Return the positions of the k highest scores, best first.

    Args:
        scores: One score an item, shape (M,). Higher is better; NaN comes last.
        k: How many, k >= 1. More than M gives all M.

    Returns:
        Positions, shape (min(k, M),). Equal scores keep the order of the items.

    Raises:
        InputError: If scores is not one-dimensional, or k no whole number of 1 or more.

    Example:
        >>> top_k([0.1, 0.9, 0.9, 0.3], k=3).tolist()
        [1, 2, 3]
    """
    values = np.asarray(scores)
    if values.ndim != 1:
        raise InputError(f"scores must have shape (M,), got {values.shape}")
    k = check_k(k)
    values = np.where(np.isnan(values), -np.inf, values)
    if k < len(values):
        # Partition first: sorting everything costs ten times as much at a million items.
        threshold = np.partition(values, len(values) - k)[len(values) - k]
        above = np.flatnonzero(values > threshold)
        ties = np.flatnonzero(values == threshold)[: k - len(above)]
        candidates = np.concatenate([above, ties])
    else:
        candidates = np.arange(len(values))
    order: NDArray[np.intp] = candidates[np.argsort(-values[candidates], kind="stable")]
    return order


def check_k(k: object) -> int:
    """Return how many results are wanted, as Python's own whole number.

    Args:
        k: A whole number of any kind, NumPy's too.

    Returns:
        The number.

    Raises:
        InputError: If it is no whole number, or less than 1.

    Example:
        >>> check_k(np.int64(3))
        3
    """
    if isinstance(k, bool | np.bool_) or not isinstance(k, SupportsIndex):
        raise InputError(f"k must be a whole number of 1 or more, got {k!r}")
    count = operator.index(k)
    if count < 1:
        raise InputError(f"k must be at least 1, got {count}")
    return count


def mix_embeddings(embeddings: ArrayLike, weights: Sequence[float]) -> Embeddings:
    """Return the weighted sum of embeddings as one embedding.

    Args:
        embeddings: Shape (N, D), rows of norm 1, N >= 1.
        weights: One finite weight a row; negative ones subtract.

    Returns:
        One embedding, shape (1, D), norm 1.

    Raises:
        InputError: If the counts differ, or the parts cancel out but for their rounding errors.

    Example:
        >>> mix_embeddings([[1.0, 0.0], [0.0, 1.0]], [3.0, -4.0]).round(3).tolist()
        [[0.6000000238418579, -0.800000011920929]]
    """
    rows = np.asarray(embeddings, dtype=np.float32)
    if rows.ndim != 2 or len(rows) != len(weights) or not len(weights):
        raise InputError(
            f"mixing needs one weight for each of 1 or more rows, "
            f"got {len(weights)} weights for embeddings of shape {rows.shape}"
        )
    if not np.all(np.isfinite(weights)):
        raise InputError(f"weights must be finite numbers, got {list(weights)}")
    mixed = np.asarray(weights, dtype=np.float32) @ rows
    # Below this it is what rounding left of the parts: half precision errs by about 5e-4 each.
    if np.linalg.norm(mixed) < 0.01 * np.abs(weights).max():
        raise InputError("the parts of the query cancel out, so nothing is left to search for")
    return normalize_rows(mixed[None, :])
