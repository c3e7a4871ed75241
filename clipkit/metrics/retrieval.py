"""Retrieval and classification metrics on arrays: recall@k, ranks, top-k accuracy.

Shapes: N queries or images, M items, C classes, D dimensions, E pairs of a query and an item.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings
from clipkit.errors import InputError

_BLOCK_CELLS = 2**22  # similarities held at once: 16 MB


def hit_ranks(
    similarities: NDArray[np.floating[Any]], relevant: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Return how many items are ranked before each query's first relevant one.

    Args:
        similarities: Of query n to item m, shape (N, M). Higher is closer; no NaN.
        relevant: True where item m answers query n, shape (N, M). Each row has a True.

    Returns:
        Shape (N,), in 0..M-1; 0 is best. Of items that are equally close, the lower item number
        comes first, whichever is relevant: a model that finds everything equally close scores as
        a guess does.

    Raises:
        InputError: If the shapes differ, a query has no relevant item, or a similarity is NaN.

    Example:
        >>> hit_ranks(np.array([[0.9, 0.1], [0.8, 0.2]]), np.eye(2, dtype=bool)).tolist()
        [0, 1]
    """
    if similarities.shape != relevant.shape or similarities.ndim != 2:
        raise InputError(
            f"similarities and relevant must have one shape (N, M), got {similarities.shape} and "
            f"{relevant.shape}"
        )
    if not relevant.any(axis=1).all():
        lost = np.flatnonzero(~relevant.any(axis=1))
        raise InputError(f"every query needs a relevant item; query {lost[0]} has none")
    best = np.where(relevant, similarities, -np.inf).max(axis=1, keepdims=True)  # (N, 1)
    if np.isnan(similarities).any():
        raise InputError("similarities must be numbers, got NaN: the embeddings are not finite")
    is_best = similarities == best
    first = (relevant & is_best).argmax(axis=1)[:, None]
    ahead = similarities > best
    ahead |= is_best & (np.arange(similarities.shape[1]) < first)
    ranks: NDArray[np.intp] = np.count_nonzero(ahead, axis=1)
    return ranks


def recall_at_k(
    similarities: NDArray[np.floating[Any]], relevant: NDArray[np.bool_], *, k: int
) -> float:
    """Return the share of queries with at least one relevant item in their top k.

    This is the CLIP papers' recall@k: a query counts as 1 or 0. It is not the
    information-retrieval recall, which divides by the number of relevant items.

    Args:
        similarities: Cosine similarity of query n to item m, shape (N, M). Higher is closer.
        relevant: True where item m answers query n, shape (N, M). Each row has a True.
        k: Length of the ranked list, 1 <= k <= M. Ties go to the lower item number.

    Returns:
        A fraction in [0, 1].

    Raises:
        InputError: If the shapes differ, a query has no relevant item, or k is out of range.

    Example:
        >>> similarities = np.array([[0.9, 0.1], [0.8, 0.2]], dtype=np.float32)
        >>> recall_at_k(similarities, np.eye(2, dtype=bool), k=1)
        0.5

    Source:
        Karpathy & Fei-Fei 2015, "Deep Visual-Semantic Alignments" (arXiv 1412.2306).
    """
    ranks = hit_ranks(similarities, relevant)
    _check_k(k, similarities.shape[1], "items")
    return share_within(ranks, k=k)


def top_k_accuracy(
    scores: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]], *, k: int
) -> float:
    """Return the share of images whose right class is among the k of highest score.

    Args:
        scores: Of image n for class c, shape (N, C). Higher is likelier.
        labels: The right class of each image, shape (N,), in 0..C-1.
        k: How many classes may be guessed, 1 <= k <= C. Ties go to the lower class number.

    Returns:
        A fraction in [0, 1].

    Raises:
        InputError: If the shapes do not fit, or a label or k is out of range.

    Example:
        >>> top_k_accuracy(np.array([[0.7, 0.3], [0.6, 0.4]]), np.array([0, 1]), k=1)
        0.5
    """
    ranks = label_ranks(scores, labels)
    _check_k(k, scores.shape[1], "classes")
    return share_within(ranks, k=k)


def label_ranks(
    scores: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]
) -> NDArray[np.intp]:
    """Return how many classes are ranked before each image's right one.

    Args:
        scores: Of image n for class c, shape (N, C). Higher is likelier.
        labels: The right class of each image, shape (N,), in 0..C-1.

    Returns:
        Shape (N,), in 0..C-1; 0 is best. Ties as in `hit_ranks`.

    Raises:
        InputError: If the shapes do not fit or a label is out of range.
    """
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise InputError(
            f"scores must have shape (N, C) and labels (N,), got {scores.shape} and {labels.shape}"
        )
    num_classes = scores.shape[1]
    if ((labels < 0) | (labels >= num_classes)).any():
        raise InputError(
            f"labels must be in 0..{num_classes - 1} for {num_classes} classes, "
            f"got {labels.min()}..{labels.max()}"
        )
    return hit_ranks(scores, labels[:, None] == np.arange(num_classes))


def retrieval_ranks(
    queries: Embeddings,
    items: Embeddings,
    relevant_queries: NDArray[np.integer[Any]],
    relevant_items: NDArray[np.integer[Any]],
) -> NDArray[np.intp]:
    """Return how many items are ranked before each query's first relevant one, by cosine.

    The (N, M) matrix is never held: 16 MB of similarities at a time.

    Args:
        queries: Shape (N, D), rows of norm 1.
        items: Shape (M, D), rows of norm 1.
        relevant_queries: Query numbers, shape (E,): query relevant_queries[e] is answered by item
            relevant_items[e]. Each query is there at least once.
        relevant_items: Item numbers, shape (E,).

    Returns:
        Shape (N,), in 0..M-1, as `hit_ranks` has it.

    Raises:
        InputError: If a query has no relevant item, or an embedding is NaN.
    """
    order = np.argsort(relevant_queries, kind="stable")
    asked, answers = relevant_queries[order], relevant_items[order]
    ranks = np.empty(len(queries), dtype=np.intp)
    num_rows = max(1, _BLOCK_CELLS // max(1, len(items)))
    for start in range(0, len(queries), num_rows):
        rows = slice(start, min(start + num_rows, len(queries)))
        edges = slice(*np.searchsorted(asked, [rows.start, rows.stop]))
        relevant = np.zeros((rows.stop - rows.start, len(items)), dtype=bool)
        relevant[asked[edges] - rows.start, answers[edges]] = True
        ranks[rows] = hit_ranks(queries[rows] @ items.T, relevant)
    return ranks


def share_within(ranks: NDArray[np.intp], *, k: int) -> float:
    """Return the share of ranks that are among the first k: recall@k, or top-k accuracy.

    Args:
        ranks: As `hit_ranks` has them, shape (N,), N >= 1; 0 is best.
        k: Length of the ranked list, at least 1.

    Returns:
        A fraction in [0, 1].
    """
    return float((ranks < k).mean())


def mean_per_class(hits: NDArray[np.bool_], labels: NDArray[np.integer[Any]]) -> float:
    """Return the mean over classes of the share of hits: each class counts the same.

    Args:
        hits: Whether each image was right, shape (N,), N >= 1.
        labels: The right class of each image, shape (N,), 0 or more.

    Returns:
        A fraction in [0, 1]; classes without an image do not count.

    Example:
        >>> mean_per_class(np.array([True, True, True, False]), np.array([0, 0, 0, 2]))
        0.5
    """
    totals = np.bincount(labels)
    right = np.bincount(labels, weights=hits)
    is_there = totals > 0
    return float((right[is_there] / totals[is_there]).mean())


def _check_k(k: int, most: int, what: str) -> None:
    if not 1 <= k <= most:
        raise InputError(f"k must be between 1 and {most} {what}, got {k}")
