"""Whether measures differ between groups of images by more than chance, with many tested at once.

Shapes: N images, S measures of each, G groups, P shufflings, T strata, B bootstrap draws.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Numbers = NDArray[np.integer[Any]]

_CELLS = 2**23  # of an array that is made at once
_LEAST_VARIANCE = 1e-12  # below that of rounding: a measure that is the same for all


@dataclass(frozen=True)
class GroupTest:
    """How far each group lies from what shuffled groups would give."""

    z: Floats  # in standard deviations of the shuffled sums, shape (G, S); 0: nothing differs
    p: Floats  # corrected for all that were tested, shape (G, S)

    def standing_out(self, measure: int) -> int:
        """Return the group that is farthest from the others; of two equally far, the higher."""
        return int((np.abs(self.z[:, measure]) + 1e-6 * self.z[:, measure]).argmax())


def permutation_test(
    values: NDArray[np.floating[Any]],
    groups: Numbers,
    num_groups: int,
    *,
    strata: Numbers | None = None,
    families: int = 1,
    shuffles: int = 2000,
) -> GroupTest:
    """Return which groups have other values than the images at large, by shuffling the groups.

    The figure of a group is the sum of its values, in standard deviations of what shuffled groups
    have. The corrected p is the share of shufflings in which any group of any measure stands out
    as much (Westfall and Young's maxT, in one step): the probability that there is any false find
    among all of them is kept, and measures that go together cost no more than one. It is exact
    for any number of images, and never below 1 / (shuffles + 1).

    Args:
        values: Shape (N, S), finite.
        groups: In 0..G-1, shape (N,).
        num_groups: G, 2 at least.
        strata: Shape (N,): groups are shuffled among images of one stratum only, and only what
            lies beyond the means of the strata counts. None: one stratum.
        families: How many such tests are made in all; each p is multiplied by it (Bonferroni).
        shuffles: P.

    Returns:
        The figures and their p.

    Source:
        Westfall & Young 1993, "Resampling-based multiple testing", algorithm 2.5 in one step.
    """
    order = np.arange(len(groups)) if strata is None else np.argsort(strata, kind="stable")
    sizes = np.array([len(groups)]) if strata is None else np.unique(strata, return_counts=True)[1]
    own, group = np.asarray(values, np.float64)[order], np.asarray(groups)[order]
    starts = np.cumsum(sizes) - sizes
    for start, size in zip(starts, sizes, strict=True):
        own[start : start + size] -= own[start : start + size].mean(axis=0)
    deviations = np.sqrt(_variances(own, group, num_groups, starts, sizes))  # (G, S)
    scale = np.divide(1.0, deviations, out=np.zeros_like(deviations), where=deviations > 0)
    z = np.stack([own[group == number].sum(axis=0) for number in range(num_groups)]) * scale
    rng = np.random.default_rng(0)
    light, largest = own.astype(np.float32), np.empty(shuffles)
    at_once = max(1, _CELLS // (len(groups) * num_groups))
    for start in range(0, shuffles, at_once):
        stop = min(start + at_once, shuffles)
        shuffled = _shuffled(group, stop - start, sizes, rng)
        is_of = shuffled[:, None, :] == np.arange(num_groups)[:, None]  # (P', G, N)
        sums = is_of.reshape(-1, len(group)).astype(np.float32) @ light
        found = np.abs(sums.reshape(stop - start, num_groups, -1) * scale)
        largest[start:stop] = found.max(axis=(1, 2))
    largest.sort()
    # What is as large up to rounding counts as large: sums above are in half the digits.
    as_large = shuffles - np.searchsorted(largest, np.abs(z) * (1 - 1e-5) - 1e-9)
    return GroupTest(z, np.minimum(1.0, families * (1 + as_large) / (1 + shuffles)))


def _variances(
    centred: Floats, groups: Numbers, num_groups: int, starts: Numbers, sizes: Numbers
) -> Floats:
    """Return the variance of each group's sum if groups are shuffled in strata, shape (G, S)."""
    squares = np.add.reduceat(centred**2, starts, axis=0)  # (T, S)
    stratum = np.repeat(np.arange(len(sizes)), sizes)
    counts = np.bincount(groups * len(sizes) + stratum, minlength=num_groups * len(sizes))
    drawn = counts.reshape(num_groups, len(sizes)).astype(np.float64)  # (G, T)
    # A sum of n of M values drawn without putting back: n (M - n) / (M (M - 1)) of their squares.
    weights = drawn * (sizes - drawn) / np.maximum(sizes * (sizes - 1), 1)
    found = weights @ squares
    return np.where(found > _LEAST_VARIANCE, found, 0.0)


def _shuffled(
    groups: Numbers, count: int, sizes: Numbers, rng: np.random.Generator
) -> NDArray[np.integer[Any]]:
    """Return groups in other orders, each kept within its stratum, shape (P', N)."""
    if len(sizes) == 1:
        return rng.permuted(np.tile(groups, (count, 1)), axis=1)
    stratum = np.repeat(np.arange(len(sizes), dtype=np.float64), sizes)
    return groups[np.argsort(stratum + rng.random((count, len(groups))), axis=1)]


def bootstrap_means(values: NDArray[np.floating[Any]], *, draws: int = 1000) -> Floats:
    """Return the means of measures over images that are drawn again and again.

    Args:
        values: Shape (N, S), N >= 1.
        draws: B; the same images every time.

    Returns:
        Shape (B, S).

    Source:
        Efron 1979, "Bootstrap methods: another look at the jackknife".
    """
    count, rng = len(values), np.random.default_rng(0)
    means = np.empty((draws, values.shape[1]))
    at_once = max(1, _CELLS // count)
    for start in range(0, draws, at_once):
        stop = min(start + at_once, draws)
        drawn = rng.integers(count, size=(stop - start, count))
        drawn += np.arange(stop - start)[:, None] * count
        times = np.bincount(drawn.ravel(), minlength=(stop - start) * count)
        means[start:stop] = times.reshape(stop - start, count) @ values / count
    return means
