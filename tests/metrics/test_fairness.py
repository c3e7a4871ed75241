"""Fairness metrics against hand counts, closed forms and properties."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipkit.errors import InputError
from clipkit.metrics.comparison import Interval, share_interval
from clipkit.metrics.fairness import (
    association_effect,
    ndkl,
    prefix_counts,
    share_difference,
    skews,
    top_shares,
)

HALVES = np.array([0.5, 0.5])
RANKING = np.array([0, 0, 1, 0, 1, 1])  # of which group each place is
SCORES = -np.arange(6.0)


def test_skew_and_ndkl_of_a_ranking_by_hand() -> None:
    counts = prefix_counts(SCORES, RANKING, 2, k=6)
    assert counts.tolist() == [[1, 0], [2, 0], [2, 1], [3, 1], [3, 2], [3, 3]]
    assert skews(counts[3], HALVES).round(6).tolist() == [0.405465, -0.693147]
    assert ndkl(counts[:4], HALVES) == pytest.approx(0.474362, abs=5e-7)
    assert ndkl(counts, HALVES) == pytest.approx(0.370058, abs=5e-7)


def test_a_group_that_is_missing_counts_as_one_but_never_as_too_many() -> None:
    found = skews(np.array([10.0, 0.0]), HALVES)
    assert found.tolist() == pytest.approx([math.log(2), math.log(0.1 / 0.5)])
    rare = skews(np.array([10.0, 0.0]), np.array([0.99, 0.01]))
    assert rare[1] == 0.0  # one of ten would be ten times too many


def test_ties_never_make_a_list_longer_and_help_nobody() -> None:
    """Of six equal images two are in a list of two: each is so to a third."""
    shares = top_shares(np.zeros(6), k=2)
    assert shares.sum() == pytest.approx(2)
    assert set(shares.round(9)) == {round(1 / 3, 9)}
    counts = prefix_counts(np.zeros(6), RANKING, 2, k=4)
    assert counts.tolist() == [[0.5, 0.5], [1, 1], [1.5, 1.5], [2, 2]]
    assert ndkl(counts, HALVES) == pytest.approx(0)
    assert skews(counts[3], HALVES).tolist() == pytest.approx([0, 0])


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=7),
    st.data(),
)
def test_ties_are_the_mean_over_all_orders(
    images: list[tuple[int, int]], data: st.DataObject
) -> None:
    scores = np.array([float(score) for score, _ in images])
    groups = np.array([group for _, group in images])
    k = data.draw(st.integers(1, len(images)))
    found = prefix_counts(scores, groups, 3, k=k)
    by_hand = np.zeros((k, 3))
    orders = 0
    for order in itertools.permutations(range(len(images))):
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order)):
            orders += 1
            by_hand += np.cumsum(np.eye(3)[groups[list(order[:k])]], axis=0)
    assert found == pytest.approx(by_hand / orders)
    assert [top_shares(scores, k=k) @ (groups == group) for group in range(3)] == pytest.approx(
        found[-1].tolist()
    )


@pytest.mark.parametrize("k", [0, 7])
def test_a_list_is_no_longer_than_the_images(k: int) -> None:
    with pytest.raises(InputError, match="between 1 and 6 images"):
        top_shares(SCORES, k=k)
    with pytest.raises(InputError, match="between 1 and 6 images"):
        prefix_counts(SCORES, RANKING, 2, k=k)


def test_association_by_hand() -> None:
    first, second = np.array([0.5, 0.4]), np.array([0.1, 0.2])
    assert association_effect(first, second) == pytest.approx(1.643168, abs=5e-7)
    assert association_effect(second, first) == pytest.approx(-1.643168, abs=5e-7)
    assert association_effect(np.ones(3), np.ones(2)) == 0.0


def test_a_difference_of_shares_is_newcombes() -> None:
    """56 of 70 against 48 of 80, in table II of Newcombe 1998: .0524 to .3339."""
    shares = [
        share_interval(np.repeat([1.0, 0.0], [56, 14])),
        share_interval(np.repeat([1.0, 0.0], [48, 32])),
    ]
    found = share_difference(*shares)
    assert (found.mean, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    assert found.count == 150
    with pytest.raises(InputError, match="needs images on both sides"):
        share_difference(shares[0], Interval(0, 0, 0, 0))
