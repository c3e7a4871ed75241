"""Calibration metrics against hand counts, slow references and scikit-learn."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss

from clipkit.errors import InputError
from clipkit.metrics.calibration import (
    MOST_SCALE,
    Binning,
    best_log_probability,
    best_scale,
    brier_scores,
    expected_calibration_error,
    reliability_bins,
    selective_accuracy,
)
from clipkit.metrics.classification import label_log_probabilities

CONFIDENCES = np.array([0.95, 0.9, 0.8, 0.7, 0.65, 0.55, 0.4, 0.35])
IS_RIGHT = np.array([1, 1, 0, 1, 1, 0, 0, 1], dtype=bool)


@pytest.mark.parametrize(("num_bins", "expected"), [(5, 0.1375), (15, 0.3)])
def test_ece_of_equal_width(num_bins: int, expected: float) -> None:
    found = expected_calibration_error(CONFIDENCES, IS_RIGHT, num_bins=num_bins)
    assert found == pytest.approx(expected, abs=1e-12)


def test_adaptive_ece_counts_equally_many_images() -> None:
    # Pairs from below: (.35 .4 | 1 0), (.55 .65 | 0 1), (.7 .8 | 1 0), (.9 .95 | 1 1).
    expected = (abs(0.375 - 0.5) + abs(0.6 - 0.5) + abs(0.75 - 0.5) + abs(0.925 - 1)) / 4
    found = expected_calibration_error(CONFIDENCES, IS_RIGHT, num_bins=4, binning="mass")
    assert found == pytest.approx(expected, abs=1e-12)


def test_a_confidence_on_an_edge_is_of_the_bin_below() -> None:
    bins = reliability_bins(np.array([0.0, 0.5, 0.500001, 1.0]), np.ones(4, dtype=bool), num_bins=2)
    assert [(part.low, part.high, part.count) for part in bins] == [(0, 0.5, 2), (0.5, 1, 2)]


@given(
    arrays(
        np.float64, st.integers(1, 60), elements=st.sampled_from([0.0, 0.2, 1 / 3, 0.5, 0.9, 1.0])
    ),
    st.integers(1, 20),
    st.sampled_from(["width", "mass"]),
    st.randoms(),
)
def test_bins_share_out_all_images(
    confidences: NDArray[np.float64], num_bins: int, binning: Binning, source: random.Random
) -> None:
    is_right = np.array([source.random() < 0.5 for _ in confidences])
    bins = reliability_bins(confidences, is_right, num_bins=num_bins, binning=binning)
    assert sum(part.count for part in bins) == len(confidences)
    assert sum(part.count * part.accuracy for part in bins) == pytest.approx(is_right.sum())
    assert sum(part.count * part.confidence for part in bins) == pytest.approx(confidences.sum())
    for part in bins:
        assert part.low - 1e-12 <= part.confidence <= part.high + 1e-12
    error = expected_calibration_error(confidences, is_right, num_bins=num_bins, binning=binning)
    assert 0 <= error <= 1


def test_brier_score_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(5), size=40)
    labels = rng.integers(5, size=40)
    expected = brier_score_loss(labels, probabilities, labels=np.arange(5), scale_by_half=False)
    assert brier_scores(probabilities, labels).mean() == pytest.approx(expected, abs=1e-12)


def test_selective_accuracy_of_distinct_confidences_is_counted() -> None:
    # By confidence: right, right, wrong, right, right, wrong, wrong, right.
    found = selective_accuracy(CONFIDENCES, IS_RIGHT, np.array([1 / 8, 3 / 8, 5 / 8, 1.0]))
    np.testing.assert_allclose(found, [1, 2 / 3, 4 / 5, 5 / 8])


def test_equal_confidences_select_nothing() -> None:
    found = selective_accuracy(np.full(8, 0.3), IS_RIGHT, np.array([0.1, 0.5, 1.0]))
    np.testing.assert_allclose(found, 5 / 8)


@pytest.mark.parametrize(
    ("confidences", "is_right", "num_bins", "message"),
    [
        ([], [], 5, "one shape"),
        ([0.5], [True, False], 5, "one shape"),
        ([1.5], [True], 5, "from 0 to 1, got 1.5 to 1.5"),
        ([np.nan], [True], 5, "from 0 to 1"),
        ([0.5], [True], 0, "at least 1, got 0"),
    ],
)
def test_what_are_no_probabilities_is_refused(
    confidences: list[float], is_right: list[bool], num_bins: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        reliability_bins(np.array(confidences), np.array(is_right, dtype=bool), num_bins=num_bins)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_the_best_scale_is_that_of_a_fine_search(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(0, 3, (30, 4)), rng.integers(0, 4, 30)
    logits[np.arange(30), labels] += rng.uniform(-1, 3)
    scales = np.concatenate([[0.0], np.geomspace(1e-4, 100, 4000)])
    found = [label_log_probabilities(scale * logits, labels).mean() for scale in scales]
    assert best_log_probability(logits, labels) >= max(found) - 1e-6
    assert best_scale(logits, labels) == pytest.approx(scales[int(np.argmax(found))], 5e-3, 1e-3)


def test_the_best_scale_of_worthless_and_of_perfect_logits() -> None:
    logits = np.array([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    assert best_scale(logits, np.array([1, 1, 0])) == 0
    assert best_log_probability(logits, np.array([1, 1, 0])) == pytest.approx(-np.log(2))
    assert best_scale(logits, np.array([0, 0, 1])) == pytest.approx(MOST_SCALE, 1e-3)
    assert best_log_probability(1e6 * logits, np.array([0, 0, 1])) == pytest.approx(0)
