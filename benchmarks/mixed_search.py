"""A search of images in memory, by the functions that clipkit searches a library by.

Shapes: N images, D dimensions, B everyday words, L and M marked images.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipkit.embeddings import Embeddings
from clipkit.search.query_vectors import PartVector, QueryVectors
from clipkit.search.ranking import QueryScore, exact_products, mixed_score, plain_score
from clipkit.search.relevance import RelevanceScale, relevance_of
from clipkit.search.search import NUM_CANDIDATES, evidence_of_candidates

Vector = NDArray[np.floating]


class MixedSearch:
    """Images to search and everyday words.

    Args:
        images: Shape (N, D), rows of norm 1.
        bank: Everyday words, shape (B, D), rows of norm 1.
    """

    def __init__(self, images: Embeddings, bank: Embeddings) -> None:
        self._images, self._bank = images.astype(np.float32), bank.astype(np.float32)

    def scores(self, query: QueryVectors) -> Vector:
        """Return the scores that choose the candidates, shape (N,)."""
        score = self._score(query)
        return score.scores(exact_products(self._images, score.directions)).astype(float)

    def _score(self, query: QueryVectors) -> QueryScore:
        if query.is_plain:
            return plain_score(query.parts[0])
        return mixed_score(query, self._images, self._bank)

    def found(
        self, query: QueryVectors, hidden: Sequence[int] = (), *, weigh: bool = True
    ) -> tuple[Vector, Vector]:
        """Return in which order images are shown, and how relevant they are said to be.

        Args:
            query: What is sought.
            hidden: Images that are not shown.
            weigh: False to order by evidence alone whatever the query.

        Returns:
            Numbers that are higher the earlier an image comes, and relevances, shape (N,) each.
            What is no candidate comes after all candidates and has no relevance.
        """
        scores = self.scores(query)
        scores[list(hidden)] = -np.inf
        order = np.argsort(-scores, kind="stable")
        best = order[: min(NUM_CANDIDATES, len(order) - len(set(hidden)))]
        rows = self._images[best]
        if weigh:
            score = self._score(query)
            evidence = evidence_of_candidates(query, self._bank, self._images, rows, score)
        else:
            embeddings, weights, is_image = zip(*query.with_marks(), strict=True)
            scale = RelevanceScale(self._bank, self._images)
            evidence = scale.evidence(np.stack(embeddings), weights, is_image, rows)
        shown = np.concatenate([best[np.argsort(-evidence, kind="stable")], order[len(best) :]])
        earliness, relevance = np.empty(len(order)), np.zeros(len(order))
        earliness[shown] = -np.arange(len(order))
        relevance[best] = relevance_of(evidence)
        return earliness, relevance


def make_query(
    parts: Sequence[tuple[ArrayLike, float, bool]],
    liked: Embeddings | None = None,
    disliked: Embeddings | None = None,
) -> QueryVectors:
    """Return a query of parts, each with its weight and whether it is an image, and of marks."""
    made = tuple(PartVector(np.asarray(row, np.float32), *rest) for row, *rest in parts)
    marks = [given for given in (liked, disliked) if given is not None]
    width = len(made[0].embedding) if made else marks[0].shape[1]
    none = np.empty((0, width), np.float32)
    marked = [none if given is None else given for given in (liked, disliked)]
    return QueryVectors(made, marked[0], marked[1], frozenset())
