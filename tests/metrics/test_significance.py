"""Tests of a difference against all flips, SciPy's, and hand counts."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import permutation_test  # type: ignore[import-untyped]

from clipkit.metrics.significance import chance_of_as_many, holm, sign_flip_probability


@pytest.mark.parametrize(("count", "chance"), [(6, 0.5), (5, 0.2), (7, 1 / 3)])
def test_guessing_is_counted_out(count: int, chance: float) -> None:
    for right in range(count + 1):
        expected = sum(
            math.prod(chance if hit else 1 - chance for hit in hits)
            for hits in product((False, True), repeat=count)
            if sum(hits) >= right
        )
        assert chance_of_as_many(right, count, chance) == pytest.approx(expected)


def test_guessing_among_many_images_does_not_overflow() -> None:
    assert chance_of_as_many(40, 50_000, 1 / 1000) == pytest.approx(0.93, abs=0.02)
    assert chance_of_as_many(50_000, 50_000, 1 / 1000) == 0.0


@given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]), min_size=1, max_size=7))
def test_flipping_signs_is_counted_over_all_flips(differences: list[float]) -> None:
    seen = abs(sum(differences))
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, differences, strict=True)))
        for signs in product((-1, 1), repeat=len(differences))
    ]
    expected = sum(value >= seen - 1e-12 for value in sums) / len(sums)
    found = sign_flip_probability(np.array(differences), np.arange(len(differences)))
    assert found == pytest.approx(expected)


def test_many_images_are_flipped_as_scipy_flips_them() -> None:
    differences = np.random.default_rng(1).normal(0.25, 1, size=60)
    expected = permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=20_000, rng=2
    ).pvalue
    found = sign_flip_probability(differences, np.arange(60))
    assert found == pytest.approx(expected, abs=5 * math.sqrt(expected / 10_000))
    assert 0.001 < expected < 0.2


def test_values_of_one_image_flip_together() -> None:
    """Five captions of one image that are found by one model only say what one image says."""
    differences = np.ones(10)
    assert sign_flip_probability(differences, np.repeat([4, 7], 5)) == 0.5
    assert sign_flip_probability(differences, np.arange(10)) == 2 / 2**10


def test_equally_good_models_seem_different_once_in_twenty() -> None:
    rng = np.random.default_rng(5)
    alarms = 0
    for _ in range(300):
        first, second = (rng.random((2, 80)) < 0.7).astype(np.float64)
        alarms += sign_flip_probability(second - first, np.arange(80), draws=400) <= 0.05
    # At most 5 %: more than 26 of 300 would come about once in a thousand.
    assert 0 < alarms <= 26


def test_holms_correction_by_hand() -> None:
    """.01 x 4, .02 x 3, .03 x 2 and .04, none smaller than one before, none above 1."""
    given_values = np.array([0.04, 0.01, 0.03, 0.02])
    np.testing.assert_allclose(holm(given_values), [0.06, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(holm(np.array([0.9, 0.6])), [1.0, 1.0])
    assert holm(np.array([])).shape == (0,)
