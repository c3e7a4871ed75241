"""Figures of rungs over splits, against hand counts."""

import numpy as np
import pytest

from clipkit.adaptation.results import gain, log_gain
from tests.adaptation.made_results import made_results

LABELS = [0, 0, 0, 1, 1, 1]
TESTS = [[0, 3], [0, 4], [1, 5]]


def test_figures_by_hand() -> None:
    found = made_results([[1, 0], [0, 1], [1, 1]], LABELS, TESTS, retention=[True, False, True])
    assert found.accuracies == [0.5, 0.5, 1.0]
    # Image 0 is right in one of its two splits; 2 is never tested.
    np.testing.assert_array_equal(found.per_image, [0.5, 1, np.nan, 0, 1, 1])
    assert found.of_classes() == {0: 0.75, 1: pytest.approx(2 / 3)}
    assert found.mean_per_class == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert found.kept == pytest.approx(2 / 3)
    # Two of the splits are 90 % sure and right in half, one in all.
    assert found.ece(is_calibrated=False) == pytest.approx((0.4 + 0.4 + 0.1) / 3)


def test_a_rung_that_knows_no_other_things_keeps_nothing_to_speak_of() -> None:
    assert made_results([[1, 1]] * 3, LABELS, TESTS).kept is None


def test_gains_count_each_image_once() -> None:
    before = made_results([[1, 0], [0, 1], [1, 1]], LABELS, TESTS)
    after = made_results([[1, 1], [1, 1], [1, 1]], LABELS, TESTS)
    found = gain(after, before)
    differences = np.array([0.5, 0, 1, 0, 0])  # images 0, 1, 3, 4, 5
    assert found.mean == pytest.approx(differences.mean())
    assert found.error == pytest.approx(differences.std(ddof=1) / np.sqrt(5))
    assert found.exceeds(1)
    assert not found.exceeds(2)
    assert not gain(before, before).exceeds(0)
    assert not gain(before, after).exceeds(0)


def test_one_image_makes_nothing_certain() -> None:
    before, after = (made_results([[right]], LABELS, [[0]]) for right in (0, 1))
    assert not gain(after, before).exceeds(1)


def test_log_probabilities_are_those_at_the_best_temperature_of_each_split() -> None:
    # Right in half at any confidence: the best temperature says nothing, ln 1/2 each. Right in all:
    # the highest temperature that is looked at.
    found = made_results([[1, 0], [0, 1], [1, 1]], LABELS, TESTS, confidence=0.7)
    values = found.log_probabilities
    assert np.isnan(values[2])
    np.testing.assert_allclose(values[[0, 3, 4]], np.log(0.5), atol=1e-6)
    np.testing.assert_allclose(values[[1, 5]], 0, atol=1e-6)


def test_what_is_known_more_counts_each_image_once() -> None:
    labels, tests = [0, 1] * 4, [list(range(8))]
    before = made_results([[1, 1, 1, 1, 1, 1, 0, 0]], labels, tests)
    after = made_results([[1, 1, 1, 1, 1, 1, 1, 0]], labels, tests)
    # At the best temperature a share of 6/8 is said where 6 of 8 are right, and 7/8 where 7 are.
    differences = np.log([7 / 6] * 6 + [7 / 2, 1 / 2])
    found = log_gain(after, before)
    assert found.mean == pytest.approx(differences.mean(), abs=1e-4)
    assert found.error == pytest.approx(differences.std(ddof=1) / np.sqrt(8), abs=1e-4)
