"""An order of results in which no two neighbours show the same thing.

Maximal marginal relevance: the best first, then always the one that is relevant and unlike all
that were taken.

Shapes: K candidates, D dimensions.

Source: Carbonell and Goldstein 1998, "The Use of MMR, Diversity-Based Reranking".
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipkit.arguments import check_share, check_whole
from clipkit.errors import InputError


def diversify(
    scores: ArrayLike, embeddings: ArrayLike, *, k: int, tradeoff: float = 0.7
) -> NDArray[np.intp]:
    """Return candidates in an order that weighs relevance against repetition.

    Each step takes the candidate with the highest
    ``tradeoff * score - (1 - tradeoff) * (highest cosine to one taken before)``.

    Args:
        scores: Relevance of each candidate, shape (K,), on the scale of a cosine between
            pictures: [0, 1], 1 for what could not be more relevant. Plain cosines of a text to
            pictures are too small for this; a search's relevance is not.
        embeddings: The candidates, shape (K, D), rows of norm 1.
        k: How many to return, k >= 1. More than K gives all K.
        tradeoff: From 0, only variety, to 1, only relevance.

    Returns:
        Positions of the candidates, shape (min(k, K),). Equal values keep their order.

    Raises:
        InputError: If the shapes do not fit together, a score is not finite, or k or tradeoff is
            out of range.

    Example:
        >>> rows = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]  # the first two are the same
        >>> diversify([0.9, 0.8, 0.5], rows, k=3).tolist()
        [0, 2, 1]
    """
    relevance, rows = np.asarray(scores, np.float64), np.asarray(embeddings, np.float32)
    if relevance.ndim != 1 or rows.ndim != 2 or len(rows) != len(relevance):
        raise InputError(
            "scores must have shape (K,) and embeddings (K, D), "
            f"got {relevance.shape} and {rows.shape}"
        )
    if not np.isfinite(relevance).all():
        raise InputError("scores must be finite numbers")
    k = check_whole(k, "k")
    tradeoff = check_share(tradeoff, "tradeoff")
    gains = tradeoff * relevance
    closest = np.full(len(rows), -np.inf)  # highest cosine to one taken
    order = np.empty(min(k, len(rows)), dtype=np.intp)
    for place in range(len(order)):
        values = gains - (1 - tradeoff) * closest if place else relevance.copy()
        values[order[:place]] = -np.inf
        order[place] = np.argmax(values)
        np.maximum(closest, rows @ rows[order[place]], out=closest)
    return order
