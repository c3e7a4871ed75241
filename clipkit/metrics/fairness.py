"""Fairness metrics: who is in the top of a ranking, association with a text, gaps in a share.

Shapes: N images, G groups, k places of a ranking.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.errors import InputError
from clipkit.metrics.comparison import Interval
from clipkit.metrics.retrieval import check_k

Numbers = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]


def top_shares(scores: NDArray[np.floating[Any]], *, k: int) -> Floats:
    """Return how much of each image is among the k of highest score.

    Args:
        scores: One an image, shape (N,). Higher is closer.
        k: Length of the ranked list, 1 <= k <= N.

    Returns:
        Shape (N,), 0 to 1, of sum k: 1 above the border, 0 below. Where the border falls among
        equal scores each of them has its share of the places that are left, so that the list is
        never longer than k, and no order of the images helps anyone.

    Raises:
        InputError: If k is out of range.

    Example:
        >>> top_shares(np.array([0.9, 0.5, 0.5, 0.1]), k=2).tolist()
        [1.0, 0.5, 0.5, 0.0]
    """
    check_k(k, len(scores), "images")
    border = np.partition(scores, -k)[-k]
    above, at_border = scores > border, scores == border
    shares: Floats = above.astype(np.float64)
    shares[at_border] = (k - np.count_nonzero(above)) / np.count_nonzero(at_border)
    return shares


def prefix_counts(
    scores: NDArray[np.floating[Any]], groups: Numbers, num_groups: int, *, k: int
) -> Floats:
    """Return how many of each group are among the first 1, 2, …, k of a ranking.

    Args:
        scores: One an image, shape (N,). Higher is closer.
        groups: The group of each, in 0..G-1, shape (N,).
        num_groups: G.
        k: 1 <= k <= N.

    Returns:
        Shape (k, G); row i sums to i + 1. Equal scores share their places as for
        :func:`top_shares`.

    Raises:
        InputError: If k is out of range.

    Example:
        >>> prefix_counts(np.array([3.0, 2.0, 1.0]), np.array([0, 0, 1]), 2, k=3).tolist()
        [[1.0, 0.0], [2.0, 0.0], [2.0, 1.0]]
    """
    check_k(k, len(scores), "images")
    order = np.argsort(-scores, kind="stable")
    is_of = groups[order][:, None] == np.arange(num_groups)
    counts = np.concatenate([np.zeros((1, num_groups)), np.cumsum(is_of, axis=0)])  # (N + 1, G)
    _, starts = np.unique(-scores[order], return_index=True)
    borders = np.append(starts, len(scores))  # between images of different scores
    places = np.arange(1, k + 1)
    found = [np.interp(places, borders, counts[borders, group]) for group in range(num_groups)]
    shares: Floats = np.stack(found, axis=1)
    return shares


def skews(counts: Floats, shares: Floats) -> Floats:
    """Return skew@k of each group: how over- or under-represented it is in the first k.

    It is ln(share among the first k / share to expect); the largest over the groups is MaxSkew,
    the least MinSkew, which tells who is missing.

    Args:
        counts: Of each group among the first k, shape (…, G); a row sums to k.
        shares: To expect of each group: those of the data set, or 1/G; above 0, shape (G,).

    Returns:
        Natural logarithms, shape (…, G): 0 where a group is there as expected, .69 twice as often,
        -.69 half as often. A group of which none is there counts as if one were, but never as
        over-represented.

    Example:
        >>> skews(np.array([3.0, 1.0]), np.array([0.5, 0.5])).round(4).tolist()
        [0.4055, -0.6931]

    Source:
        Geyik et al. 2019 (arXiv 1905.01989), definitions 3 to 5; none as one: debias_clip,
        measuring_bias.py. Its MaxSkew starts at 0; this one does not.
    """
    lengths = counts.sum(axis=-1, keepdims=True)
    found = np.log(np.where(counts > 0, counts, 1.0) / lengths / shares)
    limited: Floats = np.where(counts > 0, found, np.minimum(found, 0.0))
    return limited


def ndkl(counts: Floats, shares: Floats) -> Floats:
    """Return the normalised discounted KL divergence of the beginnings of a ranking.

    Args:
        counts: Of each group among the first 1, 2, …, k, shape (…, k, G).
        shares: To expect of each group, above 0, of sum 1, shape (G,).

    Returns:
        Shape (…), 0 or more: 0 where each beginning of the list has the groups as expected. Short
        beginnings cannot, so that a list drawn by chance is above 0 as well.

    Example:
        >>> counts = np.cumsum(np.eye(2)[[0, 0, 1, 0]], axis=0)
        >>> round(float(ndkl(counts, np.array([0.5, 0.5]))), 6)
        0.474362

    Source:
        Geyik et al. 2019 (arXiv 1905.01989), definition 6.
    """
    lengths = np.arange(1, counts.shape[-2] + 1)
    found = counts / lengths[:, None]
    logs = np.log(np.where(found > 0, found, 1.0) / shares)
    divergences = np.where(found > 0, found * logs, 0.0).sum(axis=-1)  # (…, k)
    weights = 1 / np.log2(lengths + 1)
    mean: Floats = divergences @ weights / weights.sum()
    return mean


def association_effect(first: Floats, second: Floats) -> float:
    """Return the association effect size d of two sets of images with a text (WEAT, iEAT).

    Args:
        first: Association of each image of one set: its cosine with a text, or with some texts
            less that with others, at least one.
        second: Of the other set.

    Returns:
        Difference of the means in standard deviations of all, of either sign; 0 if all are equal.

    Example:
        >>> round(association_effect(np.array([0.5, 0.4]), np.array([0.1, 0.2])), 6)
        1.643168

    Source:
        Caliskan et al. 2017 (arXiv 1608.07187); of images Steed & Caliskan 2021 (arXiv 2010.15052).
        Standard deviation with N - 1.
    """
    spread = float(np.concatenate([first, second]).std(ddof=1))
    return float(first.mean() - second.mean()) / spread if spread > 0 else 0.0


def share_difference(first: Interval, second: Interval) -> Interval:
    """Return the difference of two shares of different images, with its 95 % interval.

    Args:
        first: As :func:`clipkit.metrics.comparison.share_interval` returns it.
        second: Likewise; it is subtracted.

    Returns:
        The interval, of the count of both.

    Raises:
        InputError: If there is no image.

    Source:
        Newcombe 1998, "Interval estimation for the difference between independent proportions",
        method 10: it holds for few images and for shares of 0 and 1.
    """
    if not first.count or not second.count:
        raise InputError("a difference of shares needs images on both sides, got none")
    difference = first.mean - second.mean
    below = math.hypot(first.mean - first.low, second.high - second.mean)
    above = math.hypot(first.high - first.mean, second.mean - second.low)
    return Interval(difference, difference - below, difference + above, first.count + second.count)
