"""Figures of rungs over splits, against hand counts."""

import numpy as np
import pytest

from clipkit.adaptation.results import gain
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


def test_gains_are_those_of_the_accuracies_with_the_error_of_the_images() -> None:
    before = made_results([[1, 0], [0, 1], [1, 1]], LABELS, TESTS)
    after = made_results([[1, 1], [1, 1], [1, 1]], LABELS, TESTS)
    found = gain(after, before)
    assert found.mean == pytest.approx(np.mean(after.accuracies) - np.mean(before.accuracies))
    # Image 0 is tested twice, and right once more; image 3 once; 1, 4 and 5 are as they were.
    differences, counts = np.array([0.5, 1, 0, 0, 0]), np.array([2, 1, 1, 1, 1])
    assert found.mean == pytest.approx(np.sum(counts * differences) / 6)
    squares = np.sum((counts * (differences - found.mean)) ** 2)
    assert found.error == pytest.approx(np.sqrt(squares * 5 / 4) / 6)
    assert gain(before, after).mean == -found.mean
    assert gain(before, before).mean == gain(before, before).error == 0


def test_one_image_makes_nothing_certain() -> None:
    before, after = (made_results([[right]], LABELS, [[0]]) for right in (0, 1))
    assert gain(after, before).error == 1
