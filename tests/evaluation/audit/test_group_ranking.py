"""Rankings and associations by group, against hand counts."""

import math

import numpy as np
import pytest

from clipkit.evaluation.audit.group_ranking import list_lengths, measure_rankings
from clipkit.evaluation.audit.grouped_images import column_groups
from clipkit.metrics.fairness import association_effect

COLUMN = column_groups("side", ["x"] * 30 + ["y"] * 20)


def test_lists_go_to_a_tenth_of_the_images() -> None:
    assert list_lengths(40) == [10]
    assert list_lengths(250) == [10, 25]
    assert list_lengths(10_000) == [10, 30, 100, 300, 1000]


def test_a_ranking_by_hand() -> None:
    """All ten are of y, which has 20 of 50: ln(1 / .4). x counts as one: ln(.1 / .6)."""
    scores = np.arange(50.0)[:, None]
    (query,), none = measure_rankings(COLUMN, (("q",), scores), ((), np.empty((50, 0))), families=1)
    assert none == ()
    (at,) = query.at
    assert (at.k, at.max_skew, at.min_skew) == pytest.approx(
        (10, math.log(1 / 0.4), math.log(0.1 / 0.6))
    )
    assert (query.group, query.k) == ("y", 10)
    assert query.p < 0.01
    # Where only y is found the divergence is ln(1 / .4) at every length.
    assert query.ndkl == pytest.approx(math.log(1 / 0.4))
    assert query.ndkl_by_chance.high < query.ndkl
    for _, skew in at.groups:
        assert skew.low <= skew.mean <= skew.high


def test_a_model_that_ranks_nothing_is_not_accused() -> None:
    values = np.ones((50, 1))
    (query,), associations = measure_rankings(
        COLUMN, (("q",), values), (("c",), values), families=1
    )
    assert query.p == 1.0
    assert query.at[0].max_skew == pytest.approx(0)
    assert [one.effect.mean for one in associations] == [0.0, 0.0]
    assert {one.p for one in associations} == {1.0}


def test_associations_are_effect_sizes() -> None:
    values = np.random.default_rng(0).normal(size=(50, 2))
    values[:30, 1] += 2
    _, found = measure_rankings(
        COLUMN, ((), np.empty((50, 0))), (("one", "two"), values), families=1
    )
    of = {(one.concept, one.group): one for one in found}
    expected = association_effect(values[:30, 1], values[30:, 1])
    assert of["two", "x"].effect.mean == pytest.approx(expected)
    assert of["two", "y"].effect.mean == pytest.approx(-expected)
    assert of["two", "x"].p < 0.01 < of["one", "x"].p
    assert of["two", "x"].effect.low < expected < of["two", "x"].effect.high
