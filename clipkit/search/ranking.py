"""Ranking a library's images by a query: the score of an image, and the k images that score best.

A query of one text or image scores by the plain cosine. In any other, each modality is seen from
its own centre (`modality_gap`), and the score is made of the inner products of an image with a few
directions: what is sought, what is subtracted, and the centre of the images.

An image with crops is as close to a direction as the closest of its rows, the whole and the crops:
to what is sought and to what is subtracted alike, so that a bottle on a table is found, and a small
dog is missed where dogs are subtracted. Centres and spreads are those of whole images.

The order does not depend on the library's history: a library that grew, shrank and was compacted
ranks as one built from scratch. Equal scores are in the order of the paths.

Shapes: K images, R rows of each, D dimensions of the shared space, M directions, B background
words, S sampled images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings, mix_embeddings
from clipkit.search.filters import Selection
from clipkit.search.modality_gap import (
    Direction,
    center_rows,
    centered_similarities,
    check_remains,
    estimate_center,
    estimate_spread,
    mix_parts,
    subtraction_loss,
)
from clipkit.search.query_vectors import PartVector, QueryVectors
from clipkit.search.rerank import refit_direction
from clipkit.search.store.base import ALL, Candidates, Snapshot

_BLOCK = 4096  # candidates scored at a time
_SPREAD_IMAGES = 256  # images that tell how alike unrelated ones are


class Subtraction(NamedTuple):
    """A subtracted part of a query: what images should not show."""

    direction: NDArray[np.float32]  # shape (D,), norm 1
    spread: float = 1.0  # of its cosines to unrelated images
    strength: float = 1.0  # times the usual loss


@dataclass(frozen=True)
class QueryScore:
    """How well an image fits a query, -1..1: a cosine, less the penalties for subtracted parts.

    A store takes it as a `clipkit.search.store.base.Score`.
    """

    direction: NDArray[np.float32]  # of what is sought, shape (D,), norm 1
    # Where angles are measured from, shape (D,): the mean of the images for a query in which
    # modalities were mixed; None for the plain cosine.
    center: NDArray[np.float32] | None = None
    spread: float = 1.0  # of the direction's cosines to unrelated images
    subtracted: tuple[Subtraction, ...] = ()

    @property
    def directions(self) -> NDArray[np.float32]:
        """What is sought, what is subtracted, and last the centre if there is one: shape (M, D)."""
        rows = [self.direction, *(part.direction for part in self.subtracted)]
        return np.stack(rows if self.center is None else [*rows, self.center])

    def bounds(
        self, products: NDArray[np.floating], error: float
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return the bounds of the scores of images, given inner products with an error.

        Args:
            products: Inner products of `directions` and images of norm 1, shape (M, K); of images
                with R rows each, (M, K, R).
            error: The largest absolute error of a product.

        Returns:
            The lowest and the highest score, shape (K,) each.
        """
        cosines = self._cosines(products)
        errors: NDArray[np.floating] | np.float32 = np.float32(error)
        if self.center is not None:
            # The nearer an image is to the centre, the more an error of a product turns its angle.
            squared = np.maximum(1 - 2 * products[-1] + self.center @ self.center, 1e-6)
            errors = error * (1 / np.sqrt(squared) + np.abs(cosines) / squared)
            errors = np.where(squared < 10 * error, 2.0, errors)  # the angle may be any
        lowest, highest = _best(cosines - errors), _best(cosines + errors)
        # The more an image shows what is subtracted, the lower its score.
        return self._subtract(lowest[0], highest[1:]), self._subtract(highest[0], lowest[1:])

    def scores(self, products: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the scores of images by their inner products with `directions`, shape (K,)."""
        cosines = _best(self._cosines(products))
        return self._subtract(cosines[0], cosines[1:])

    def matched_rows(self, products: NDArray[np.floating]) -> NDArray[np.intp]:
        """Return which row of each image is closest to what is sought, of equal ones the first.

        Args:
            products: As for `scores`, shape (M, K, R).

        Returns:
            Numbers from 0 on, shape (K,).
        """
        found: NDArray[np.intp] = self._cosines(products)[0].argmax(axis=1)
        return found

    def _cosines(self, products: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return cosines to what is sought and to what is subtracted, from the centre if any."""
        if self.center is None:
            return products
        directions = (self.direction, *(part.direction for part in self.subtracted))
        to_center = products[-1].ravel()
        cosines = [
            centered_similarities(np.stack([each.ravel(), to_center], axis=1), towards, self.center)
            for each, towards in zip(products[:-1], directions, strict=True)
        ]
        return np.stack(cosines).reshape(len(directions), *products.shape[1:])

    def _subtract(
        self, cosines: NDArray[np.floating], subtracted: NDArray[np.floating]
    ) -> NDArray[np.floating]:
        """Return cosines to what is sought, less what is lost for each subtracted part."""
        scores = cosines
        for part, cosine in zip(self.subtracted, subtracted, strict=True):
            loss = subtraction_loss(cosine / part.spread)
            scores = scores - self.spread * part.strength * loss
        return np.maximum(scores, -1.0) if self.subtracted else scores


def rank(
    snapshot: Snapshot, score: QueryScore, *, k: int, where: Selection = ALL
) -> tuple[Candidates, list[float]]:
    """Return the k images that score best, by the exact scores of the store's candidates.

    Filters come before the ranking: k images come back whenever k pass them.

    Args:
        snapshot: The library's state.
        score: What to rank by.
        k: How many, k >= 1.
        where: Which images to rank.

    Returns:
        At most k images, best first, and their scores.
    """
    ids, paths, is_complete, num_searched = snapshot.candidates(score, k, where)
    scores: list[float] = []
    for start in range(0, len(ids), _BLOCK):
        rows = snapshot.with_crops(ids[start : start + _BLOCK])
        scores += score.scores(exact_products(rows, score.directions)).tolist()
    order = sorted(range(len(paths)), key=lambda place: (-scores[place], paths[place]))[:k]
    best = Candidates(ids[order], [paths[place] for place in order], is_complete, num_searched)
    return best, [scores[place] for place in order]


def exact_products(rows: Embeddings, directions: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return inner products that are the same wherever a row lies among others.

    A scan may round a row differently from place to place; here equal rows always get equal
    values, so ties are true ties.

    Args:
        rows: Shape (K, D) or (K, R, D), norm 1 but for the rounding of the store, which is taken
            out.
        directions: Shape (M, D), norms up to 1.

    Returns:
        Shape (M, K) or (M, K, R), in [-1, 1].
    """
    exact = rows.astype(np.float64)
    norms = np.sqrt((exact * exact).sum(axis=-1))
    products = [(exact * each.astype(np.float64)).sum(axis=-1) / norms for each in directions]
    found: NDArray[np.float64] = np.clip(np.stack(products), -1.0, 1.0)
    return found


def _best(cosines: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the cosines of images, of one with several rows the highest: shape (P, K)."""
    best: NDArray[np.floating] = cosines if cosines.ndim == 2 else cosines.max(axis=2)
    return best


def plain_score(part: PartVector) -> QueryScore:
    """Return the score of a query that is one text or image: the cosine."""
    return QueryScore(mix_embeddings(part.embedding[None, :], [part.weight])[0])


def mixed_score(query: QueryVectors, sample: Embeddings, background: Embeddings) -> QueryScore:
    """Return the score of a query of several parts, or with images marked.

    Args:
        query: What is sought.
        sample: Images that stand for the library, shape (S, D).
        background: Everyday words, shape (B, D).

    Returns:
        The score: what is added and marked as a direction, what is subtracted beside it. With
        nothing added, the direction points away from what is subtracted.

    Raises:
        InputError: If the parts cancel out.
    """
    modalities = _Modalities(sample, background)
    added, subtracted = query.split()
    direction = modalities.mix(added) if added else None
    if len(query.liked) or len(query.disliked):
        direction = refit_direction(query.liked, query.disliked, modalities.image_center, direction)
    assert direction is not None
    if not subtracted:
        return QueryScore(direction, modalities.image_center)
    strongest = max((part.weight for part in added), default=1.0)
    away = []
    for part in subtracted:
        unwanted = modalities.direction(part)
        check_remains(direction, unwanted)
        away.append(Subtraction(unwanted, modalities.spread(part), -part.weight / strongest))
    return QueryScore(
        direction, modalities.image_center, modalities.mean_spread(added), tuple(away)
    )


class _Modalities:
    """The centres and spreads of the two modalities, texts and images.

    Args:
        sample: Images that stand for the library, shape (S, D).
        background: Everyday words, shape (B, D).
    """

    def __init__(self, sample: Embeddings, background: Embeddings) -> None:
        self._sample, self._background = sample, background
        self.image_center, self._text_center = library_center(sample), library_center(background)

    def mix(self, parts: Sequence[PartVector]) -> Direction:
        """Return the direction of parts mixed."""
        centers = np.stack([self._center(part) for part in parts])
        return mix_parts(
            np.stack([part.embedding for part in parts]), [part.weight for part in parts], centers
        )

    def direction(self, part: PartVector) -> Direction:
        """Return the direction of a part, whatever its weight."""
        direction: Direction = center_rows(part.embedding[None, :], self._center(part))[0]
        return direction

    def spread(self, part: PartVector) -> float:
        """Return the spread of cosines of unrelated embeddings of a part's modality to images."""
        images = center_rows(self._sample[:_SPREAD_IMAGES], self.image_center)
        if part.is_image:
            return estimate_spread(images, images)
        return estimate_spread(center_rows(self._background, self._text_center), images)

    def mean_spread(self, parts: Sequence[PartVector]) -> float:
        """Return the spread of parts mixed; of images that were marked, if there are none."""
        if not parts:
            return self.spread(PartVector(self.image_center, is_image=True))
        weights = [abs(part.weight) for part in parts]
        return float(np.average([self.spread(part) for part in parts], weights=weights))

    def _center(self, part: PartVector) -> NDArray[np.float32]:
        return self.image_center if part.is_image else self._text_center


def library_center(embeddings: Embeddings) -> NDArray[np.float32]:
    """Return the centre of embeddings of one modality; of none, the origin."""
    if not len(embeddings):
        return np.zeros(embeddings.shape[1], dtype=np.float32)
    return estimate_center(embeddings.mean(axis=0), len(embeddings))
