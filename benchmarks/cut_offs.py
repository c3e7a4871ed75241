"""Relevance cut-offs: precision, recall, F1, and how well scores tell matches from the rest.

Shapes: Q queries, K images. A query may have no match.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class CutOff:
    """Which images one method returns for each query, and how far up the best of them is."""

    threshold: float
    right: Array  # (Q,) returned and a match
    returned: Array  # (Q,)
    matching: Array  # (Q,) how many there are to find
    best: Array  # (Q,) the highest score

    @classmethod
    def at(cls, scores: Array, matches: Mask, threshold: float | None) -> "CutOff":
        """Cut at a threshold, or at the one with the best F1 on these very queries."""
        if threshold is None:
            threshold = best_threshold(scores, matches)
        found = scores >= threshold
        counts = (found & matches, found, matches)
        return cls(threshold, *(c.sum(axis=1).astype(float) for c in counts), scores.max(axis=1))

    def take(self, rows: NDArray[np.intp]) -> "CutOff":
        """Return the cut-off on some of the queries."""
        columns = (self.right, self.returned, self.matching, self.best)
        return CutOff(self.threshold, *(column[rows] for column in columns))

    def joined(self, other: "CutOff") -> "CutOff":
        """Return both kinds of queries as one, each cut at its own threshold."""
        pairs = (
            (self.right, other.right),
            (self.returned, other.returned),
            (self.matching, other.matching),
            (self.best - self.threshold, other.best - other.threshold),
        )
        return CutOff(np.nan, *(np.concatenate(pair) for pair in pairs))


def best_threshold(scores: Array, matches: Mask) -> float:
    """Return the cut with the highest F1 over pairs."""
    order = np.argsort(-scores, axis=None)
    right = np.cumsum(matches.ravel()[order])
    f1 = 2 * right / (np.arange(1, len(order) + 1) + matches.sum())
    return float(scores.ravel()[order[f1.argmax()]])


def precision(cut: CutOff) -> float:
    """Return the share of returned images that match."""
    return float(cut.right.sum() / max(cut.returned.sum(), 1))


def recall(cut: CutOff) -> float:
    """Return the share of matches that were returned."""
    return float(cut.right.sum() / cut.matching.sum())


def f1_of_pairs(cut: CutOff) -> float:
    """Return F1 over all pairs of a query and an image."""
    return float(2 * cut.right.sum() / (cut.returned.sum() + cut.matching.sum()))


def f1_of_queries(cut: CutOff) -> float:
    """Return the mean F1 of a query; without a match it is 1 for no answer and else 0."""
    size = cut.returned + cut.matching
    return float(np.where(size > 0, 2 * cut.right / np.maximum(size, 1), 1.0).mean())


def nothing_rightly(cut: CutOff) -> float:
    """Return the share of queries without a match that return nothing."""
    return float((cut.returned[cut.matching == 0] == 0).mean())


def query_auroc(cut: CutOff) -> float:
    """Return how well the best score tells queries with a match from those without."""
    return auroc(cut.best[cut.matching > 0], cut.best[cut.matching == 0])


def auroc(positive: Array, negative: Array) -> float:
    """Return the chance that a positive scores higher than a negative; ties count half."""
    values, places = np.unique(np.concatenate([positive, negative]), return_inverse=True)
    counts = np.bincount(places, minlength=len(values))
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    above = ranks[: len(positive)].sum() - len(positive) * (len(positive) + 1) / 2
    return float(above / (len(positive) * len(negative)))


def average_precision(order: NDArray[np.intp], matches: Mask) -> float:
    """Return the average precision of one query's ranking."""
    hits = matches[order]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


def precision_at_10(order: NDArray[np.intp], matches: Mask) -> float:
    """Return the share of the matches, ten at most, that are among the first ten."""
    return float(matches[order[:10]].sum() / min(10, matches.sum()))


MEASURES: dict[str, Callable[[CutOff], float]] = {
    "precision": precision,
    "recall": recall,
    "F1 of pairs": f1_of_pairs,
    "F1 of queries": f1_of_queries,
    "nothing, rightly": nothing_rightly,
    "AUROC of queries": query_auroc,
}
RANKINGS = {"mean average precision": average_precision, "precision at 10": precision_at_10}
