"""Scores of images for queries: clipkit's evidence with any constants, and the rivals'.

Each rival is a function of a Collection that returns (Q, N). None is told what matches.

Shapes: Q queries, N images, B background words, D dimensions.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from composition import average_precision
from numpy.typing import NDArray
from relevance_collections import Collection, Mask, Rows

from clipkit.search.relevance import (
    CENTER,
    GAP_WEIGHT,
    LARGE_SIZE,
    LARGEST_GAP,
    SIZE_WEIGHT,
    SLOPE,
    RelevanceScale,
)
from clipkit.word_evidence import LEAST_RICHNESS, RICHNESS, WordScale, in_spreads

SAMPLE = 1024  # images that stand for a library, as in a search


@dataclass(frozen=True)
class Constants:
    """What relevance is made with and what is fitted; the defaults are what is shipped."""

    richness: float = RICHNESS
    gap_weight: float = GAP_WEIGHT
    center: float = CENTER
    slope: float = SLOPE


class Evidence:
    """The evidence of one collection's queries of words, for any constants."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        scale, images = WordScale(collection.bank), collection.images
        queries = scale.from_center(collection.texts)
        self._spreads = in_spreads(images @ queries.T, images @ scale.rows.T).T  # (Q, N)
        norms = np.linalg.norm(queries, axis=1)
        self._log_richness = np.log(np.maximum(norms, LEAST_RICHNESS))[:, None]

    @functools.cached_property
    def best_cosine_f1(self) -> float:
        """F1 of the flat cosine cut that is best on these very queries."""
        return best_f1(cosine(self.collection), self.collection.matches)[0]

    @functools.cached_property
    def former(self) -> Rows:
        """Clipkit's former score, (Q, N)."""
        return word_z_score(self.collection)

    def sums(self, richness: float, gap_weight: float) -> Rows:
        """Return evidence and how far an image stands out, in spreads: (Q, N)."""
        evidence = self._spreads - richness * self._log_richness
        order = np.argsort(-evidence, axis=1, kind="stable")
        ranked = np.take_along_axis(evidence, order, axis=1)
        behind = np.minimum(2 * np.arange(ranked.shape[1]) + 1, ranked.shape[1] - 1)
        ranked = ranked + gap_weight * np.minimum(ranked - ranked[:, behind], LARGEST_GAP)
        ranked = ranked - SIZE_WEIGHT * np.log(max(ranked.shape[1] / LARGE_SIZE, 1.0))
        sums = np.empty_like(ranked)
        monotone = np.maximum.accumulate(ranked[:, ::-1], axis=1)[:, ::-1]
        np.put_along_axis(sums, order, monotone, axis=1)
        return sums


def relevance(sums: Rows, constants: Constants) -> Rows:
    """Return the relevance that sums stand for."""
    return logistic(constants.slope * (sums - constants.center))


def logistic(logits: Rows) -> Rows:
    """Return the logistic function."""
    curve: Rows = 0.5 + 0.5 * np.tanh(logits / 2)  # tanh does not overflow
    return curve


def shipped(collection: Collection) -> Rows:
    """Return what clipkit says, by its own code, for queries of either kind: (Q, N)."""
    scale = RelevanceScale(collection.bank, collection.images[:SAMPLE])
    is_image = collection.query_images is not None
    found = np.zeros(collection.matches.shape)
    for row, text, shown in zip(found, collection.texts, collection.shown, strict=True):
        row[shown] = scale.relevance(text[None], [1.0], [is_image], collection.images[shown])
    return found


def cosine(collection: Collection) -> Rows:
    """Return plain cosines."""
    return collection.texts @ collection.images.T


def word_z_score(collection: Collection) -> Rows:
    """Return clipkit's former score: z against the words, without those near the query."""
    center = collection.bank.mean(axis=0)
    words, queries = _unit(collection.bank - center), _unit(collection.texts - center)
    likeness = queries @ words.T
    middle = np.median(likeness, axis=1, keepdims=True)
    spread = 1.4826 * np.median(np.abs(likeness - middle), axis=1, keepdims=True)
    scores, others = queries @ collection.images.T, words @ collection.images.T
    for row, is_other in zip(scores, likeness <= middle + 4 * spread, strict=True):
        row[:] = (row - others[is_other].mean(axis=0)) / others[is_other].std(axis=0)
    return scores


def library_z_score(collection: Collection) -> Rows:
    """Return robust z-scores of a query over the library: the upper tail by the lower spread."""
    return _robust(cosine(collection))


def both_z_scores(collection: Collection) -> Rows:
    """Return the sum of the two z-scores."""
    return word_z_score(collection) + library_z_score(collection)


def softmax_against_bank(collection: Collection) -> Rows:
    """Return the query's log share of a softmax with the bank (as MCM and NegLabel), scale 50."""
    logits, others = 50 * cosine(collection), 50 * collection.bank @ collection.images.T
    total = np.logaddexp.reduce(others, axis=0)
    return logits - np.logaddexp(logits, total)


def nearest_neighbour_normalised(collection: Collection) -> Rows:
    """Return cosines less .75 times an image's mean of its 16 best words (NNN, for hubs)."""
    best = np.sort(collection.bank @ collection.images.T, axis=0)[-16:]
    return cosine(collection) - 0.75 * best.mean(axis=0)


def false_discovery(collection: Collection) -> Rows:
    """Return minus the log rate of false discoveries: a query's tail over the words' own tails."""
    center = collection.bank.mean(axis=0)
    images = _unit(collection.images - collection.images.mean(axis=0))
    scores = _unit(collection.texts - center) @ images.T
    others = np.sort(_unit(collection.bank - center) @ images.T, axis=1)
    grid = np.linspace(-1, 1, 801)
    tails = np.stack([len(images) - np.searchsorted(row, grid) for row in others])
    expected = np.interp(scores, grid, np.quantile(tails, 0.75, axis=0)) + 0.1
    ranks = np.argsort(np.argsort(-scores, axis=1), axis=1) + 1
    order = np.argsort(-scores, axis=1)
    rates = np.take_along_axis(expected / ranks, order, axis=1)
    rates = np.minimum.accumulate(rates[:, ::-1], axis=1)[:, ::-1]
    found = np.empty_like(rates)
    np.put_along_axis(found, order, rates, axis=1)
    return -np.log(found)


RIVALS: dict[str, Callable[[Collection], Rows]] = {
    "cosine": cosine,
    "z against words, before": word_z_score,
    "robust z over the library": library_z_score,
    "sum of both z": both_z_scores,
    "softmax against the bank (MCM, NegLabel)": softmax_against_bank,
    "hub correction (NNN)": nearest_neighbour_normalised,
    "false discoveries, words' tails": false_discovery,
}


# Measures


def f1_of_pairs(found: Mask, matches: Mask) -> float:
    """Return F1 over all pairs of a query and an image."""
    return float(2 * (found & matches).sum() / max(found.sum() + matches.sum(), 1))


def f1_at_cuts(scores: Rows, matches: Mask, cuts: Rows) -> Rows:
    """Return F1 of pairs at each of several cuts."""
    order = np.argsort(scores, axis=None)
    ranked = scores.ravel()[order]
    right = np.append(np.cumsum(matches.ravel()[order][::-1])[::-1], 0)
    places = np.searchsorted(ranked, cuts)
    found: Rows = 2 * right[places] / np.maximum(len(ranked) - places + matches.sum(), 1)
    return found


def best_f1(scores: Rows, matches: Mask) -> tuple[float, float]:
    """Return the highest F1 of pairs of any cut, and that cut."""
    cuts = np.unique(scores)
    values = f1_at_cuts(scores, matches, cuts)
    return float(values.max()), float(cuts[values.argmax()])


def mean_average_precision(scores: Rows, matches: Mask) -> float:
    """Return mean average precision over the queries that have a match."""
    has_match = matches.any(axis=1)
    pairs = zip(scores[has_match], matches[has_match], strict=True)
    return float(np.mean([average_precision(*pair) for pair in pairs]))


def _unit(rows: Rows) -> Rows:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _robust(scores: NDArray[np.float64]) -> Rows:
    middle = np.median(scores, axis=1, keepdims=True)
    lower = middle - np.quantile(scores, 0.16, axis=1, keepdims=True)
    return (scores - middle) / np.maximum(lower, 1e-6)
