"""Retrieval metrics: the rank of each query's first relevant item, and recall@k.

Shapes: N queries, M items, D dimensions, E pairs of a query and an item that answers it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings
from clipkit.errors import InputError
from clipkit.metrics.ranking import first_ranks, relevant_ranks


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
    check_k(k, similarities.shape[1], "items")
    return share_within(ranks, k=k)


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
    unanswered = np.flatnonzero(np.bincount(relevant_queries, minlength=len(queries)) == 0)
    if len(unanswered):
        raise InputError(f"every query needs a relevant item; query {unanswered[0]} has none")
    if np.isnan(queries).any() or np.isnan(items).any():
        raise InputError("embeddings must be numbers, got NaN")
    ranks = relevant_ranks(queries, items, relevant_queries, relevant_items)
    return first_ranks(ranks, relevant_queries, len(queries))


def share_within(ranks: NDArray[np.intp], *, k: int) -> float:
    """Return the share of ranks that are among the first k: recall@k, or top-k accuracy.

    Args:
        ranks: As `hit_ranks` has them, shape (N,), N >= 1; 0 is best.
        k: Length of the ranked list, at least 1.

    Returns:
        A fraction in [0, 1].
    """
    return float((ranks < k).mean())


def check_k(k: int, most: int, what: str) -> None:
    """Refuse a length of a ranked list that is longer than the list, or less than 1.

    Args:
        k: The length.
        most: How many there are to rank.
        what: What is ranked, for the message: "items", "classes".

    Raises:
        InputError: If k is not in 1..most.
    """
    if not 1 <= k <= most:
        raise InputError(f"k must be between 1 and {most} {what}, got {k}")
