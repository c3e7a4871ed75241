"""Calibrated relevance in [0, 1] of an image to a query.

A cosine means nothing by itself: it differs between words and images, between general and special
words, and from model to model. So the query's score on an image is compared with the scores of
alternatives, queries of the same kind that mean something else: everyday words instead of its
texts, other images of the library instead of its images. The result is a z-score, which is
comparable between queries and models; a fixed logistic curve turns it into a relevance.

A subtracted part of a query has a z-score of its own, and an image that fits it is penalized, as in
the ranking.

Images of the library are poor alternatives while there are few of them, or if all show the same.
Therefore an image in a query counts a second time as the everyday words that describe it, which
are weighed against other words, and the fewer images there are, the more this counts.

Shapes: P parts of a query, K hits, D dimensions, B everyday words, S images of the library,
A alternatives.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipkit.background_words import BACKGROUND_NAMES
from clipkit.embeddings import Embeddings
from clipkit.errors import InputError
from clipkit.search.modality_gap import subtraction_loss

if TYPE_CHECKING:
    from clipkit.encoder.encoder import Encoder


Vectors = NDArray[np.float64]

# The threshold of a match; what z-score it stands for is CUT_Z.
DEFAULT_MIN_RELEVANCE = 0.5

# Fitted on the development queries of benchmarks/relevance.py. Their F1 is best at a z-score of 4.2
# to 5.8 for words, depending on the model, and of 5.5 for words and images together.
CUT_Z = 5.0  # relevance .5
SLOPE = 1.2  # of the logistic regression of "is a match" on z, with the starter
# Fixed beforehand: the results hardly depend on them.
SYNONYM_SPREADS = 4.0  # an alternative this much closer to the query than most is a synonym
SAMPLE_PRIOR = 100  # as many images of the library are trusted as much as the words


class _Part(NamedTuple):
    """One text or image of a query."""

    embedding: Vectors  # (D,), norm 1
    weight: float
    is_image: bool


class NullDistribution:
    """The scores of unrelated queries on the images of one library.

    Args:
        bank: clipkit.background_words, embedded: shape (B, D), rows of norm 1, B >= 2.
        sample: Images of the library, embedded: shape (S, D), rows of norm 1; S may be 0. Some
            hundreds, drawn evenly, say as much as all.

    Raises:
        InputError: If the shapes do not fit together or there are fewer than two words.
    """

    def __init__(self, bank: ArrayLike, sample: ArrayLike) -> None:
        words, images = np.asarray(bank, np.float64), np.asarray(sample, np.float64)
        if words.ndim != 2 or len(words) < 2 or images.shape[1:] != words.shape[1:]:
            raise InputError(
                "the bank must have shape (B, D) with B of 2 or more and the sample (S, D) with "
                f"the same D, got {words.shape} and {images.shape}"
            )
        self._word_centre = words.mean(axis=0)
        self._words = _directions(words - self._word_centre)
        self._image_centre = images.mean(axis=0) if len(images) else self._word_centre
        self._images = _directions(images - self._image_centre)

    def relevance(
        self,
        parts: ArrayLike,
        weights: Sequence[float],
        is_image: Sequence[bool],
        hits: ArrayLike,
    ) -> Vectors:
        """Return the relevance of images to a query.

        Args:
            parts: The query's texts and images, embedded: shape (P, D), rows of norm 1, P >= 1.
            weights: One a part; what is subtracted has a negative one.
            is_image: Whether each part is an image.
            hits: The images, embedded: shape (K, D), rows of norm 1.

        Returns:
            float64, shape (K,), in [0, 1].

        Raises:
            InputError: If the shapes do not fit together or there is no part.
        """
        return relevance_of(self.z_scores(parts, weights, is_image, hits))

    def z_scores(
        self,
        parts: ArrayLike,
        weights: Sequence[float],
        is_image: Sequence[bool],
        hits: ArrayLike,
    ) -> Vectors:
        """Return how many standard deviations above its alternatives the query scores.

        Args:
            parts: The query's texts and images, embedded: shape (P, D), rows of norm 1, P >= 1.
            weights: One a part; what is subtracted has a negative one. If all are negative, the
                query is what is unlike them.
            is_image: Whether each part is an image.
            hits: The images, embedded: shape (K, D), rows of norm 1.

        Returns:
            float64, shape (K,).

        Raises:
            InputError: If the shapes do not fit together or there is no part.
        """
        rows, targets = np.asarray(parts, np.float64), np.asarray(hits, np.float64)
        shape = (len(weights), self._words.shape[1])
        if rows.shape != shape or len(is_image) != len(weights) or not len(weights):
            raise InputError(
                f"a query needs parts of shape {shape}, with one weight and one kind each and at "
                f"least one part, got {rows.shape} and {len(is_image)} kinds"
            )
        if targets.shape[1:] != shape[1:]:
            raise InputError(f"hits must have shape (K, {shape[1]}), got {targets.shape}")
        every = [_Part(*part) for part in zip(rows, weights, is_image, strict=True)]
        added = [part for part in every if part.weight > 0]
        if not added:
            return self._mixed_z_scores(every, targets)
        z_scores = self._mixed_z_scores(added, targets)
        strongest = max(part.weight for part in added)
        for part in every:
            if part.weight < 0:
                alone = self._mixed_z_scores([part._replace(weight=1.0)], targets)
                z_scores = z_scores - (-part.weight / strongest) * subtraction_loss(alone)
        return z_scores

    def _mixed_z_scores(self, parts: Sequence["_Part"], targets: Vectors) -> Vectors:
        """Return the z-scores of a weighted sum of parts, shape (K,)."""
        weights = [part.weight for part in parts]
        described = [
            (self._describe(row) if is_image else row - self._word_centre, self._words)
            for row, _, is_image in parts
        ]
        by_words = _standardise(described, weights, targets)
        if not any(part.is_image for part in parts) or not len(self._images):
            return by_words
        seen = [
            (row - self._image_centre, self._images) if is_image else others
            for (row, _, is_image), others in zip(parts, described, strict=True)
        ]
        by_images = _standardise(seen, weights, targets)
        trust = len(self._images) / (len(self._images) + SAMPLE_PRIOR)
        return trust * by_images + (1 - trust) * by_words

    def _describe(self, image: Vectors) -> Vectors:
        """Return the mean of the everyday words, weighted by their fit to an image, shape (D,)."""
        fits = self._words @ image
        powers = np.exp((fits - fits.max()) / max(fits.std(), _ROUNDING))
        described: Vectors = (powers / powers.sum()) @ self._words
        return described


def relevance_of(z_scores: ArrayLike) -> Vectors:
    """Return the relevance that z-scores stand for: a logistic curve, .5 at CUT_Z.

    Args:
        z_scores: Of any shape.

    Returns:
        float64, the same shape, in [0, 1].

    Example:
        >>> relevance_of([CUT_Z]).tolist()
        [0.5]
    """
    # tanh does not overflow as exp does.
    distance = np.asarray(z_scores, dtype=np.float64) - CUT_Z
    curve: Vectors = 0.5 + 0.5 * np.tanh(0.5 * SLOPE * distance)
    return curve


_ROUNDING = 1e-6  # smaller differences are rounding errors of the embeddings


def _standardise(
    parts: Sequence[tuple[Vectors, Vectors]], weights: Sequence[float], hits: Vectors
) -> Vectors:
    """Return the query's z-scores, shape (K,), given each part and its alternatives (A, D)."""
    count = max(len(others) for _, others in parts)
    query = np.zeros(hits.shape[1])
    alternatives = np.zeros((count, hits.shape[1]))
    for number, ((part, others), weight) in enumerate(zip(parts, weights, strict=True)):
        query += weight * _directions(part)
        # Shifted, so that the parts of an alternative differ as those of a query do.
        shift = number * len(others) // len(parts)
        alternatives += weight * others[(np.arange(count) + shift) % len(others)]
    query, alternatives = _directions(query), _directions(alternatives)
    scores = hits @ alternatives[_differs(alternatives @ query)].T  # (K, A)
    spread = scores.std(axis=1)
    # Alternatives that are all the same, such as a single image's, say nothing: a z-score of 0.
    is_known = spread > _ROUNDING
    z_scores: Vectors = (hits @ query - scores.mean(axis=1)) / np.where(is_known, spread, np.inf)
    return z_scores


def _differs(cosines: Vectors) -> NDArray[np.bool_]:
    """Return which alternatives mean something else than the query, by their cosine to it.

    Medians, because a library may hold many copies of the image that is sought.
    """
    middle = _median(cosines)
    spread = 1.4826 * _median(np.abs(cosines - middle))  # the factor makes it a deviation
    differs: NDArray[np.bool_] = cosines <= middle + SYNONYM_SPREADS * spread
    return differs


def _median(numbers: Vectors) -> float:
    """Return the median; NumPy's own imports its masked arrays, which takes 7 ms."""
    ordered = np.sort(numbers)
    middle = len(ordered) // 2
    return float(ordered[middle] + ordered[~middle]) / 2


def _directions(rows: Vectors) -> Vectors:
    """Return rows scaled to norm 1; a zero row, such as a lone image at its centre, stays."""
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    directions: Vectors = np.where(norms > _ROUNDING, rows / np.maximum(norms, _ROUNDING), 0.0)
    return directions


def stored_background(stored: Mapping[str, NDArray[np.float32]]) -> Embeddings | None:
    """Return the embeddings of BACKGROUND_NAMES, in their order, shape (B, D).

    Args:
        stored: What an index holds: the embedding of each word, shape (D,).

    Returns:
        The embeddings; None if the index has none, or those of another list.
    """
    if stored.keys() != set(BACKGROUND_NAMES):
        return None
    return np.stack([stored[name] for name in BACKGROUND_NAMES])


def make_background(encoder: "Encoder") -> Embeddings:
    """Return the embeddings of BACKGROUND_NAMES, shape (B, D)."""
    return encoder.encode_texts(BACKGROUND_NAMES)
