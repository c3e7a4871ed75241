"""Exact permutation tests of forced choices, and Holm's correction for many tests.

Shapes: k values that an image may show, of which one prompt each is to be chosen.

A model that does not know an attribute still treats images that look alike in the same way: it may
take all red images for blue ones, or by luck all for red ones. So not images but values are what
is independent: under the null hypothesis each assignment of prompts to values is equally likely.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from clipkit.errors import InputError

Counts = NDArray[np.intp]
"""How many images of value a (row) were given the prompt of value b (column), shape (k, k)."""

_ALL = 7  # values, up to which every permutation is tried: 5040
_DRAWS = 100_000  # permutations of more values
_Z95 = (0.025, 0.975)


@dataclass(frozen=True)
class PermutationTest:
    """How many answers are right, and how many would be under other assignments of prompts."""

    right: int
    count: int  # answers
    chance: float  # mean share of right answers over all assignments
    low: float  # share of right answers that 2.5 % of assignments stay below
    high: float  # and that 2.5 % exceed
    p_better: float  # probability of as many right answers or more
    p_worse: float  # of as many or fewer

    @property
    def p_value(self) -> float:
        """Of the two-sided test: twice the smaller probability, at most 1."""
        return min(1.0, 2 * min(self.p_better, self.p_worse))


def permutation_test(groups: Sequence[Counts]) -> PermutationTest:
    """Return the test of answers whose prompts are assigned anew within each group of values.

    Args:
        groups: The answers by value and choice, for groups that have no value in common. In a
            group each value has equally many answers, so that chance is 1 / k whatever a model
            prefers.

    Returns:
        The test. It is exact for groups of up to 7 values; of larger ones 100 000 permutations are
        drawn, always the same.

    Raises:
        InputError: If there is no group, one is not square, has fewer than two values, or is not
            balanced.

    Example:
        >>> found = permutation_test([np.array([[3, 0], [1, 2]])] * 2)
        >>> found.right, found.chance, found.p_better
        (10, 0.5, 0.25)

    Source:
        Fisher 1935, "The Design of Experiments", chapter II: lady tasting tea; Phipson & Smyth
        2010, "Permutation p-values should never be zero", for drawn permutations.
    """
    if not groups:
        raise InputError("a permutation test needs at least one group of values")
    distribution = np.ones(1)
    for counts in groups:
        distribution = np.convolve(distribution, _distribution(_checked(counts)))
    right = sum(int(np.trace(counts)) for counts in groups)
    count = sum(int(counts.sum()) for counts in groups)
    below = np.cumsum(distribution)  # of at most so many
    low, high = (int(np.searchsorted(below, share - 1e-12)) for share in _Z95)
    return PermutationTest(
        right=right,
        count=count,
        chance=sum(int(counts.sum()) / len(counts) for counts in groups) / count,
        low=low / count,
        high=high / count,
        p_better=min(1.0, float(distribution[right:].sum())),
        p_worse=min(1.0, float(below[right])),
    )


def _checked(counts: Counts) -> Counts:
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or len(counts) < 2:
        raise InputError(f"a group must have shape (k, k) with k of 2 or more, got {counts.shape}")
    totals = counts.sum(axis=1)
    if (counts < 0).any() or totals[0] == 0 or (totals != totals[0]).any():
        raise InputError(
            f"each value of a group must have equally many answers, got {totals.tolist()}"
        )
    return counts


def _distribution(counts: Counts) -> NDArray[np.float64]:
    """Return the probability of each number of right answers, from 0, over permutations."""
    orders = _orders(len(counts))
    right = counts[np.arange(len(counts)), orders].sum(axis=1)
    found: NDArray[np.float64] = np.bincount(right, minlength=int(counts.sum()) + 1) / len(orders)
    return found


@cache
def _orders(size: int) -> NDArray[np.intp]:
    """Return permutations, one a row: all of them, or those in place and many that are drawn."""
    in_place = np.arange(size)
    if size <= _ALL:
        return np.array(list(itertools.permutations(in_place)))
    drawn = np.random.default_rng(0).permuted(np.tile(in_place, (_DRAWS, 1)), axis=1)
    return np.concatenate([in_place[None], drawn])  # what was observed is one of those possible
