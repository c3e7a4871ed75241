"""Ranking metrics over all relevant items: average precision, nDCG, reciprocal rank.

Shapes: N queries, M items, D dimensions, E pairs of a query and an item that is relevant to it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings

_BLOCK_CELLS = 2**22  # similarities held at once: 16 MB
Numbers = NDArray[np.integer[Any]]
Ranks = NDArray[np.intp]


def relevant_ranks(
    queries: Embeddings, items: Embeddings, relevant_queries: Numbers, relevant_items: Numbers
) -> Ranks:
    """Return where each relevant item stands in the list of its query, by cosine.

    The (N, M) matrix is never held: 16 MB of similarities at a time.

    Args:
        queries: Shape (N, D), rows of norm 1.
        items: Shape (M, D), rows of norm 1.
        relevant_queries: Query numbers, shape (E,): item relevant_items[e] is relevant to query
            relevant_queries[e]. No pair is there twice.
        relevant_items: Item numbers, shape (E,).

    Returns:
        Shape (E,), in 0..M-1; 0 is best. Of items that are equally close the lower item number
        comes first, so the order of the items must have nothing to do with what is relevant.
    """
    order = np.argsort(relevant_queries, kind="stable")
    asked, answers = relevant_queries[order], relevant_items[order]
    ranks = np.empty(len(order), dtype=np.intp)
    num_rows = max(1, _BLOCK_CELLS // max(1, len(items)))
    for start in range(0, len(queries), num_rows):
        stop = min(start + num_rows, len(queries))
        similarities = queries[start:stop] @ items.T
        edges = np.searchsorted(asked, [start, stop])
        for edge in range(*edges):
            row, item = similarities[asked[edge] - start], answers[edge]
            ahead = np.count_nonzero(row > row[item])
            ranks[edge] = ahead + np.count_nonzero(row[:item] == row[item])
    unsorted = np.empty_like(ranks)
    unsorted[order] = ranks
    return unsorted


def average_precisions(ranks: Ranks, relevant_queries: Numbers, num_queries: int) -> NDArray[Any]:
    """Return each query's average precision; their mean is mAP.

    Args:
        ranks: Of each relevant item in the list of its query, as relevant_ranks has them, (E,).
        relevant_queries: Whose, shape (E,). Each query is there at least once.
        num_queries: N.

    Returns:
        0 to 1, shape (N,): the precision at each relevant item, averaged over them.

    Example:
        >>> average_precisions(np.array([0, 2]), np.array([0, 0]), 1).round(4).tolist()
        [0.8333]
    """
    order = np.lexsort((ranks, relevant_queries))
    queries = relevant_queries[order]
    first = np.searchsorted(queries, queries)
    precisions = (np.arange(len(order)) - first + 1) / (ranks[order] + 1)
    return _mean_by_query(precisions, queries, num_queries)


def ndcgs(ranks: Ranks, relevant_queries: Numbers, num_queries: int, *, k: int) -> NDArray[Any]:
    """Return each query's normalised discounted cumulative gain among the first k, nDCG@k.

    Args:
        ranks: As for :func:`average_precisions`.
        relevant_queries: Likewise.
        num_queries: N.
        k: Length of the list, at least 1.

    Returns:
        0 to 1, shape (N,): 1 where the list begins with relevant items, all of them or k.

    Example:
        >>> ndcgs(np.array([0, 2]), np.array([0, 0]), 1, k=10).round(4).tolist()
        [0.9197]

    Source:
        Järvelin & Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques"; a gain of 1
        for every relevant item.
    """
    gains = np.where(ranks < k, 1 / np.log2(ranks + 2.0), 0.0)
    counts = np.bincount(relevant_queries, minlength=num_queries)
    best = np.cumsum(1 / np.log2(np.arange(k) + 2.0))
    found = np.bincount(relevant_queries, weights=gains, minlength=num_queries)
    ideal: NDArray[Any] = found / best[np.minimum(counts, k) - 1]
    return ideal


def first_ranks(ranks: Ranks, relevant_queries: Numbers, num_queries: int) -> Ranks:
    """Return the rank of each query's first relevant item, shape (N,), 0 is best.

    Args:
        ranks: As for :func:`average_precisions`.
        relevant_queries: Likewise.
        num_queries: N.

    Returns:
        Whole numbers from 0.

    Example:
        >>> first_ranks(np.array([3, 1, 0]), np.array([0, 0, 1]), 2).tolist()
        [1, 0]
    """
    first = np.full(num_queries, np.iinfo(np.intp).max, dtype=np.intp)
    np.minimum.at(first, relevant_queries, ranks)
    return first


def _mean_by_query(values: NDArray[Any], queries: Numbers, num_queries: int) -> NDArray[Any]:
    sums = np.bincount(queries, weights=values, minlength=num_queries)
    means: NDArray[Any] = sums / np.bincount(queries, minlength=num_queries)
    return means
