"""Tests of differences between groups: exact small cases, false alarms, power, strata."""

import itertools
import math

import numpy as np
import pytest

from clipkit.metrics.group_tests import bootstrap_means, permutation_test


def test_a_small_case_is_that_of_all_shufflings() -> None:
    """Of the 20 ways to draw 3 of 6 images, two have sums as far out as 1 + 2 + 3."""
    values = np.array([1.0, 2, 3, 4, 5, 6])[:, None]
    groups = np.array([0, 0, 0, 1, 1, 1])
    found = permutation_test(values, groups, 2, shuffles=20_000)
    sums = [sum(some) for some in itertools.combinations(range(1, 7), 3)]
    deviation = np.std(sums)
    assert found.z[:, 0].tolist() == pytest.approx([(6 - 10.5) / deviation, 4.5 / deviation])
    assert found.p[:, 0].tolist() == pytest.approx([0.1, 0.1], abs=0.01)
    assert found.standing_out(0) == 1


def test_more_measures_cost_more_and_equal_ones_cost_nothing() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], 30)
    own = (rng.normal(size=60) + 0.6 * groups)[:, None]
    alone = permutation_test(own, groups, 2).p[0, 0]
    twice = permutation_test(np.hstack([own, own]), groups, 2).p[0, 0]
    among = permutation_test(np.hstack([own, rng.normal(size=(60, 40))]), groups, 2).p[0, 0]
    assert twice == alone < among
    assert permutation_test(own, groups, 2, families=3).p[0, 0] == pytest.approx(3 * alone)


def test_what_is_the_same_for_all_stands_out_nowhere() -> None:
    values = np.full((40, 1), 0.1)
    found = permutation_test(values, np.repeat([0, 1], 20), 2)
    assert found.z.tolist() == [[0.0], [0.0]]
    assert found.p.tolist() == [[1.0], [1.0]]


def test_false_finds_among_many_measures_are_rare() -> None:
    """One in twenty reports has any: among 200 up to 20 (binomial, .9985)."""
    finds = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        values = (rng.random((60, 15)) < 0.2).astype(float)
        groups = rng.permutation(np.repeat([0, 1, 2], [30, 20, 10]))
        finds += permutation_test(values, groups, 3, shuffles=400).p.min() <= 0.05
    most = 20
    chance = sum(math.comb(200, n) * 0.05**n * 0.95 ** (200 - n) for n in range(most + 1))
    assert chance > 0.998
    assert finds <= most


def test_strata_take_out_what_goes_with_them() -> None:
    """Groups have other shares of two classes, and the value is that of the class."""
    strata = np.repeat([0, 1], 100)
    groups = np.concatenate([np.repeat([0, 1], [80, 20]), np.repeat([0, 1], [20, 80])])
    rng = np.random.default_rng(0)
    values = (strata + 0.1 * rng.normal(size=200))[:, None]
    assert permutation_test(values, groups, 2).p.max() < 0.01
    within = permutation_test(values, groups, 2, strata=strata)
    assert within.p.min() > 0.05
    shifted = permutation_test(values + 0.1 * groups[:, None], groups, 2, strata=strata)
    assert shifted.p.max() < 0.01


def test_groups_are_shuffled_within_strata_only() -> None:
    """In the larger stratum nothing differs and one group is not: it must not dilute the other."""
    strata, groups = np.repeat([0, 1], [100, 900]), np.repeat([0, 1], [50, 950])
    values = np.concatenate([np.random.default_rng(2).normal(size=100), np.zeros(900)])
    values[:50] += 0.35
    found = permutation_test(values[:, None], groups, 2, strata=strata)
    assert 1.5 < found.z[0, 0] < 2.5
    assert found.p[0, 0] == pytest.approx(math.erfc(found.z[0, 0] / math.sqrt(2)), abs=0.015)


def test_the_variance_in_strata_is_that_of_shuffled_sums() -> None:
    rng = np.random.default_rng(1)
    strata, groups = rng.integers(3, size=50), rng.integers(2, size=50)
    values = rng.normal(size=50)
    centred = values - np.array([values[strata == of].mean() for of in strata])
    sums = []
    for _ in range(20_000):
        shuffled = groups.copy()
        for stratum in range(3):
            places = np.flatnonzero(strata == stratum)
            shuffled[places] = rng.permutation(groups[places])
        sums.append(centred[shuffled == 0].sum())
    found = permutation_test(values[:, None], groups, 2, strata=strata).z[0, 0]
    assert found == pytest.approx(centred[groups == 0].sum() / np.std(sums), rel=0.02)


def test_bootstrap_means_spread_as_the_mean_does() -> None:
    values = np.random.default_rng(0).normal(size=(400, 2)) * [1.0, 3.0]
    means = bootstrap_means(values, draws=4000)
    assert means.shape == (4000, 2)
    assert means.mean(axis=0) == pytest.approx(values.mean(axis=0), abs=0.01)
    expected = values.std(axis=0) / math.sqrt(400)
    assert means.std(axis=0) == pytest.approx(expected, rel=0.05)
