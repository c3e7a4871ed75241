"""Evidence that texts fit images: their scores, measured by those of everyday words.

A cosine means nothing by itself: it differs between images, between short and long texts, and from
model to model. So a text's score on an image is told in spreads of the scores that words have on
the same image, all seen from the words' mean; then what any text of its richness scores, whatever
an image shows, is taken off. With image x, text t, words w, their mean c, and norm n, which is the
root mean square of |w - c|:

    q = (t - c) / n
    evidence = (x.q - mean of x.(w - c) / n) / deviation of x.(w - c) / n - RICHNESS * ln |q|

The search (clipkit.search.relevance) and labels that are scored on their own
(clipkit.zero_shot.classifier) both stand on it; each has a logistic curve of its own.

Shapes: N images, Q queries, A alternatives, B words, D dimensions.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipkit.errors import InputError

Vectors = NDArray[np.float64]

# Fitted on collections of three models that benchmarks/relevance.py and benchmarks/labels.py
# measure. A richness of 4 to 6 does as well.
RICHNESS = 4.5  # spreads taken off for each factor e of a query's distance from the words' mean
LEAST_RICHNESS = 0.7  # below lie only texts that say next to nothing

ROUNDING = 1e-6  # smaller differences are rounding errors of the embeddings


class WordScale:
    """Everyday words of one model as the measure of other texts.

    Args:
        words: Embedded words: shape (B, D), rows of norm 1, B >= 2.

    Raises:
        InputError: If it is no such array.
    """

    def __init__(self, words: ArrayLike) -> None:
        rows = np.asarray(words, np.float64)
        if rows.ndim != 2 or len(rows) < 2:
            raise InputError(
                f"two words or more are needed, in an array of shape (B, D), got {rows.shape}"
            )
        self.center: Vectors = rows.mean(axis=0)
        self._norm = _root_mean_square_norm(rows - self.center)
        self.rows: Vectors = self.from_center(rows)
        """The words as seen from their mean, shape (B, D); the root mean square norm is 1."""

    def from_center(self, texts: ArrayLike) -> Vectors:
        """Return texts of norm 1 as seen from the words' mean, in the words' norm."""
        rows: Vectors = (np.asarray(texts, np.float64) - self.center) / self._norm
        return rows

    def evidence(self, texts: ArrayLike, images: ArrayLike) -> Vectors:
        """Return the evidence of texts, shape (Q, D), for images, shape (N, D): shape (N, Q)."""
        return evidence_of(self.from_center(texts), self.rows, np.asarray(images, np.float64))


def evidence_of(queries: Vectors, alternatives: Vectors, images: Vectors) -> Vectors:
    """Return the evidence of queries for images, shape (N, Q).

    Args:
        queries: As seen from the words' mean, shape (Q, D).
        alternatives: What a query is measured by: words, seen likewise, or sums of words if the
            queries are sums. Shape (A, D).
        images: Rows of norm 1, shape (N, D); of images with R rows each, shape (N, R, D).

    Returns:
        In spreads of the alternatives' scores on each image, less what a query's richness brings.
        The scores on an image with several rows are the best ones, of the queries and of the
        alternatives alike: the best of five lies higher by chance, and does so for both.
    """
    norms = np.linalg.norm(queries, axis=1) / _root_mean_square_norm(alternatives)
    evidence = in_spreads(best_products(images, queries), best_products(images, alternatives))
    evidence -= RICHNESS * np.log(np.maximum(norms, LEAST_RICHNESS))
    return evidence


def best_products(images: Vectors, others: Vectors) -> Vectors:
    """Return the inner products of images with others, of an image the best of its rows.

    Args:
        images: Shape (N, D), or (N, R, D) of R rows each.
        others: Shape (A, D).

    Returns:
        Shape (N, A).
    """
    if images.ndim == 2:
        return images @ others.T
    best = images[:, 0] @ others.T
    for number in range(1, images.shape[1]):
        np.maximum(best, images[:, number] @ others.T, out=best)
    return best


def in_spreads(scores: Vectors, others: Vectors) -> Vectors:
    """Return scores, shape (N, Q), in deviations of those of alternatives, shape (N, A)."""
    spread = others.std(axis=1, keepdims=True)
    # Alternatives that are all the same, such as a single image's, say nothing: 0.
    is_known = spread > ROUNDING
    standard: Vectors = (scores - others.mean(axis=1, keepdims=True)) / np.where(
        is_known, spread, np.inf
    )
    return standard


def _root_mean_square_norm(rows: Vectors) -> float:
    return max(float(np.sqrt((rows**2).sum(axis=1).mean())), ROUNDING)
