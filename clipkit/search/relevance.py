"""Calibrated relevance in [0, 1] of an image to a query, and the verdict on a whole search.

A cosine means nothing by itself: it differs between words and images, between short and long
texts, and from model to model. So three things are put together, none of which depends on a model:

- Evidence of the words: the query's score on an image, in spreads of the scores that everyday words
  have on the same image. An image in a query counts as the everyday words that describe it, and
  what is nearly a copy of it as a match whatever the words say.
- Richness: a sentence says more than a word, lies farther from the words' mean, and scores higher
  on images that it does not describe. What a query of its length scores anyway is taken off.
- Standing out: how far an image lies before the one at twice its rank. Real matches break off;
  near misses go on and on. The best of very many images lies high by chance alone, so that for
  large libraries a little more is taken off.

Their sum goes through one logistic curve for all. A subtracted part of a query has evidence of its
own, and an image that fits it is penalized, as in the ranking.

An image with crops has several rows, and the best of them counts: for the query and for the words
and images that it is measured by alike, so that evidence means what it means without crops. What is
left of chance is that of a library with as many images as there are rows, and is taken off as that
is. Measured by the words on the whole alone, half as many queries again without a match would be
told "found": docs/search.md has the figures.

Shapes: P parts of a query, K candidates, R rows of each, D dimensions, B everyday words, S images
of the library, A alternatives.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipkit.background_words import BACKGROUND_NAMES
from clipkit.embeddings import Embeddings
from clipkit.errors import InputError
from clipkit.search.modality_gap import center_rows, estimate_center, subtraction_loss
from clipkit.word_evidence import (
    ROUNDING,
    Vectors,
    WordScale,
    best_products,
    evidence_of,
    in_spreads,
)

if TYPE_CHECKING:
    from clipkit.encoder.encoder import Encoder

Verdict = Literal["found", "not sure", "probably nothing"]
"""What a search as a whole says: by the most relevant image, whatever was shown of it."""
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

# Of an image: from here on it counts as found. About the best F1 of pairs over all collections of
# benchmarks/relevance.py, with one cut for all.
DEFAULT_MIN_RELEVANCE = 0.4
NOTHING_BELOW = 0.05  # if the most relevant image has less, there is probably nothing

# Fitted on the collections of benchmarks/relevance.py, of three models, each reported by constants
# fitted without it, together with the RICHNESS of clipkit.word_evidence. F1 is flat around them: a
# weight of .4 to 1 does as well.
GAP_WEIGHT, LARGEST_GAP = 0.6, 2.0  # of how far an image stands out, in spreads
# Large libraries: fitted on made images (benchmarks/relevance_sizes.py), so that a query without a
# match is told "found" as rarely among 500 000 images as among 500.
SIZE_WEIGHT, LARGE_SIZE = 0.15, 500  # spreads taken off for each factor e of images above that
CENTER, SLOPE = 4.85, 1.3  # of the logistic curve, in spreads: relevance .5, and per spread
# Of the library's images as alternatives to an image in a query, beside the words: they tell a copy
# from another image of the same thing.
IMAGE_WEIGHT = 0.5
IMAGE_VAGUENESS = 1.4  # spreads taken off: an image shows more than what is meant by it
SYNONYM_SPREADS = 4.0  # an image this much closer to the query's than most is a copy of it
SAMPLE_PRIOR = 100  # with as many images of the library, these count half of that
# Nearly a copy: cosines from the library's centre. Of 120 photographs saved anew, halved, cropped,
# mirrored or without colour, the original has .52 to .99, the most alike of 496 others mostly .76.
COPY_COSINE = 0.7
COPY_WEIGHT = 20.0  # spreads of evidence for the image itself, falling to 0 at COPY_COSINE


class _Part(NamedTuple):
    """One text or image of a query."""

    embedding: Vectors  # (D,), norm 1
    weight: float
    is_image: bool


class RelevanceScale:
    """What the scores of queries on the images of one library are measured by.

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
        self._words, self._sample = WordScale(words), images

    # What only a query with images needs.

    @functools.cached_property
    def _directions(self) -> Vectors:
        """The words' directions from their mean, shape (B, D)."""
        return _directions(self._words.rows)

    @functools.cached_property
    def _image_center(self) -> Vectors:
        """The mean of the sample, which is not empty, shape (D,)."""
        center: Vectors = self._sample.mean(axis=0)
        return center

    @functools.cached_property
    def _images(self) -> Vectors:
        """The directions of the sample from its mean, shape (S, D)."""
        return _directions(self._sample - self._image_center)

    def relevance(
        self,
        parts: ArrayLike,
        weights: Sequence[float],
        is_image: Sequence[bool],
        candidates: ArrayLike,
        *,
        num_images: int | None = None,
    ) -> Vectors:
        """Return the relevance of the images of a library that fit a query best.

        Args:
            parts: As for `evidence`.
            weights: Likewise.
            is_image: Likewise.
            candidates: The K images of the library that fit best, some hundreds or all: how far one
                stands out is seen among them. Shape (K, D) or (K, R, D), rows of norm 1.
            num_images: How many they are the best of; None for K.

        Returns:
            float64, shape (K,), in [0, 1].

        Raises:
            InputError: As for `evidence`.
        """
        return relevance_of(self.evidence(parts, weights, is_image, candidates), num_images)

    def evidence(
        self,
        parts: ArrayLike,
        weights: Sequence[float],
        is_image: Sequence[bool],
        candidates: ArrayLike,
    ) -> Vectors:
        """Return how well images fit a query, in spreads of the scores of everyday words.

        Args:
            parts: The query's texts and images, embedded: shape (P, D), rows of norm 1, P >= 1.
            weights: One a part; what is subtracted has a negative one. If all are negative, the
                query is what is unlike them.
            is_image: Whether each part is an image.
            candidates: The images, embedded: shape (K, D), rows of norm 1; with crops (K, R, D),
                the whole first.

        Returns:
            float64, shape (K,): comparable between images, queries and models. The best order.

        Raises:
            InputError: If the shapes do not fit together or there is no part.
        """
        added, penalty = self.evidence_and_penalty(parts, weights, is_image, candidates)
        return added - penalty

    def evidence_and_penalty(
        self,
        parts: ArrayLike,
        weights: Sequence[float],
        is_image: Sequence[bool],
        candidates: ArrayLike,
    ) -> tuple[Vectors, Vectors]:
        """Return the evidence for what a query adds, and what is lost for what it subtracts.

        Args:
            parts: As for `evidence`.
            weights: Likewise.
            is_image: Likewise.
            candidates: Likewise.

        Returns:
            Evidence and penalties, 0 or more: float64, shape (K,) each.

        Raises:
            InputError: As for `evidence`.
        """
        rows, targets = np.asarray(parts, np.float64), np.asarray(candidates, np.float64)
        shape = (len(weights), self._words.rows.shape[1])
        if rows.shape != shape or len(is_image) != len(weights) or not len(weights):
            raise InputError(
                f"a query needs parts of shape {shape}, with one weight and one kind each and at "
                f"least one part, got {rows.shape} and {len(is_image)} kinds"
            )
        if targets.ndim not in (2, 3) or targets.shape[-1:] != shape[1:]:
            raise InputError(
                f"candidates must have shape (K, {shape[1]}) or (K, R, {shape[1]}), got "
                f"{targets.shape}"
            )
        every = [_Part(*part) for part in zip(rows, weights, is_image, strict=True)]
        added = [part for part in every if part.weight > 0]
        penalty = np.zeros(len(targets))
        if not added:
            return self._evidence_of_sum(every, targets), penalty
        strongest = max(part.weight for part in added)
        for part in every:
            if part.weight < 0:
                alone = self._evidence_of_sum([part._replace(weight=1.0)], targets)
                penalty += (-part.weight / strongest) * subtraction_loss(alone)
        return self._evidence_of_sum(added, targets), penalty

    def _evidence_of_sum(self, parts: Sequence[_Part], targets: Vectors) -> Vectors:
        """Return the evidence of a weighted sum of parts, shape (K,)."""
        largest = max(abs(part.weight) for part in parts) or 1.0
        parts = [part._replace(weight=part.weight / largest) for part in parts]  # relative
        weights = [part.weight for part in parts]
        query = np.zeros(targets.shape[-1])
        for part in parts:
            query += part.weight * self._in_words(part)
        evidence = evidence_of(query[None], _mixed(self._words.rows, weights), targets)[:, 0]
        seen = [part for part in parts if part.is_image]
        if not seen:
            return evidence
        share = sum(abs(part.weight) for part in seen) / sum(map(abs, weights))
        evidence -= IMAGE_VAGUENESS * share
        size = len(self._sample)
        if not size:
            return evidence
        trust = size / (size + SAMPLE_PRIOR)
        evidence += IMAGE_WEIGHT * share * trust * self._evidence_of_images(seen, targets)
        # Two images are opposite to each other as seen from between them: too few for a centre.
        if len(parts) == 1 and size > 2:
            wholes = targets if targets.ndim == 2 else targets[:, 0]  # of which a copy is one
            evidence += self._evidence_of_copies(parts[0], wholes)
        return evidence

    def _in_words(self, part: _Part) -> Vectors:
        """Return a part as seen from the words' mean, in their norms: shape (D,).

        Of an image, the mean of the everyday words weighted by how well they fit it.
        """
        if not part.is_image:
            return self._words.from_center(part.embedding)
        fits = self._directions @ part.embedding
        powers = np.exp((fits - fits.max()) / max(fits.std(), ROUNDING))
        return _directions((powers / powers.sum()) @ self._directions)

    def _evidence_of_images(self, parts: Sequence[_Part], targets: Vectors) -> Vectors:
        """Return the evidence of images, with those of the library as alternatives, shape (K,)."""
        weights = [part.weight for part in parts]
        rows = _directions(np.stack([part.embedding for part in parts]) - self._image_center)
        query = _directions(np.asarray(weights) @ rows)
        alternatives = _directions(_mixed(self._images, weights))
        differs = _differs(alternatives @ query)
        others = best_products(targets, alternatives[differs])
        return in_spreads(best_products(targets, query[None]), others)[:, 0]

    def _evidence_of_copies(self, part: _Part, targets: Vectors) -> Vectors:
        """Return the evidence for images that are nearly the query's own, shape (K,)."""
        center = estimate_center(self._image_center, len(self._sample))
        rows = center_rows(np.vstack([part.embedding, targets]), center)
        cosines = rows[1:] @ rows[0].astype(np.float64)
        nearness = np.maximum(cosines - COPY_COSINE, 0) / (1 - COPY_COSINE)
        evidence: Vectors = COPY_WEIGHT * np.sign(part.weight) * nearness
        return evidence


def relevance_of(evidence: ArrayLike, num_images: int | None = None) -> Vectors:
    """Return the relevance that the evidence for the candidates of one query stands for.

    Args:
        evidence: Of the K candidates, in any order, shape (K,).
        num_images: How many images they are the best of, or rows of images; None for K.

    Returns:
        float64, shape (K,), in [0, 1]; no less for a candidate than for one of less evidence.

    Example:
        >>> relevance_of([CENTER]).tolist()  # of one image alone, nothing stands out
        [0.5]
    """
    values = np.asarray(evidence, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    behind = np.minimum(2 * np.arange(len(ranked)) + 1, max(len(ranked) - 1, 0))
    ranked = ranked + GAP_WEIGHT * np.minimum(ranked - ranked[behind], LARGEST_GAP)
    ranked = ranked - SIZE_WEIGHT * np.log(max((num_images or len(ranked)) / LARGE_SIZE, 1.0))
    # Of two images that stand out together, the first is as relevant as the second.
    sums = np.empty_like(ranked)
    sums[order] = np.maximum.accumulate(ranked[::-1])[::-1]
    # tanh does not overflow as exp does.
    curve: Vectors = 0.5 + 0.5 * np.tanh(0.5 * SLOPE * (sums - CENTER))
    return curve


def verdict_of(relevance: ArrayLike) -> Verdict:
    """Return what a search says as a whole.

    Args:
        relevance: Of all candidates, before any is left out; may be empty. Shape (K,).

    Returns:
        The verdict.

    Example:
        >>> verdict_of([0.31, 0.02])
        'not sure'
    """
    best = float(np.max(relevance, initial=0.0))
    if best >= DEFAULT_MIN_RELEVANCE:
        return "found"
    return "not sure" if best >= NOTHING_BELOW else "probably nothing"


def _mixed(alternatives: Vectors, weights: Sequence[float]) -> Vectors:
    """Return weighted sums of alternatives, one to each part of a query, shape (A, D).

    Shifted, so that the parts of a sum differ as those of a query do.
    """
    total = np.zeros_like(alternatives)
    for number, weight in enumerate(weights):
        shift = number * len(alternatives) // len(weights)
        total += weight * np.roll(alternatives, -shift, axis=0)
    return total


def _differs(cosines: Vectors) -> NDArray[np.bool_]:
    """Return which images show something else than the query's, by their cosine to it.

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
    directions: Vectors = np.where(norms > ROUNDING, rows / np.maximum(norms, ROUNDING), 0.0)
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
