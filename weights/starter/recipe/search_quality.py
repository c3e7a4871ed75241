"""How well a folder of everyday photographs is searched: average precision by kind of query.

Shapes: N photographs, Q queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipkit.metrics.ranking import average_precisions, first_ranks, relevant_ranks
from recipe.scoring import Embedder

RECALL_RANK = 10


@dataclass(frozen=True)
class SearchQuality:
    """What each query found; queries that nothing answers are left out."""

    kinds: tuple[str, ...]  # (Q,)
    average_precision: NDArray[np.float64]  # (Q,), 0 to 1
    is_first_right: NDArray[np.bool_]  # (Q,)
    recall: NDArray[np.float64]  # (Q,): share of the right photographs among the first ten

    def mean_by_kind(self) -> dict[str, float]:
        """Return mean average precision of all queries and of each kind, in that order."""
        means = {"all": float(self.average_precision.mean())}
        for kind in dict.fromkeys(self.kinds):
            rows = np.array([other == kind for other in self.kinds])
            means[kind] = float(self.average_precision[rows].mean())
        return means


def search_quality(
    embedder: Embedder,
    rows: Sequence[int],
    words: Sequence[str],
    kinds: Sequence[str],
    matches: NDArray[np.bool_],
) -> SearchQuality:
    """Rank all photographs for each query by cosine.

    Args:
        embedder: What is measured.
        rows: The photographs among the embedder's pictures, shape (N,).
        words: The queries, as people type them, shape (Q,).
        kinds: What each is about, shape (Q,).
        matches: Whether a photograph answers a query, shape (Q, N).
    """
    answered = matches.any(axis=1).nonzero()[0]
    images = embedder.embed_rows(rows).numpy()
    texts = embedder.embed_texts([words[number] for number in answered]).numpy()
    relevant_queries, relevant_items = matches[answered].nonzero()
    ranks = relevant_ranks(texts, images, relevant_queries, relevant_items)
    counts = matches[answered].sum(axis=1)
    found = np.bincount(relevant_queries[ranks < RECALL_RANK], minlength=len(answered))
    return SearchQuality(
        kinds=tuple(kinds[number] for number in answered),
        average_precision=average_precisions(ranks, relevant_queries, len(answered)),
        is_first_right=first_ranks(ranks, relevant_queries, len(answered)) == 0,
        recall=found / np.minimum(counts, RECALL_RANK),
    )
