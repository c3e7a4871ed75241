"""Accuracies counted by hand, and log probabilities against torch."""

import math

import numpy as np
import pytest

from clipkit.errors import InputError
from clipkit.metrics.classification import (
    label_log_probabilities,
    label_ranks,
    mean_per_class,
    top_k_accuracy,
)


def test_accuracy_by_hand() -> None:
    scores = np.array([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.1, 0.6, 0.3], [0.4, 0.4, 0.2]])
    labels = np.array([0, 2, 0, 1])
    assert label_ranks(scores, labels).tolist() == [0, 1, 2, 1]
    assert [top_k_accuracy(scores, labels, k=k) for k in (1, 2, 3)] == [0.25, 0.75, 1.0]


def test_classes_count_the_same_however_large() -> None:
    # Class 0: 1 of 3, class 2: 1 of 1; class 1 has no image.
    hits = np.array([True, False, False, True])
    assert mean_per_class(hits, np.array([0, 0, 0, 2])) == pytest.approx((1 / 3 + 1) / 2)


@pytest.mark.parametrize(
    ("labels", "k", "message"),
    [
        ([0, 1, 2], 1, r"labels \(N,\), got \(2, 3\) and \(3,\)"),
        ([0, 3], 1, r"labels must be in 0..2 for 3 classes, got 0..3"),
        ([-1, 0], 1, r"got -1..0"),
        ([0, 1], 4, "k must be between 1 and 3 classes, got 4"),
    ],
)
def test_wrong_labels_are_told(labels: list[int], k: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        top_k_accuracy(np.zeros((2, 3)), np.array(labels), k=k)


def test_log_probabilities_in_closed_form() -> None:
    logits = np.log([[1.0, 2.0, 5.0], [3.0, 3.0, 2.0]])  # odds, whose sum is 8 in each row
    found = label_log_probabilities(logits, np.array([2, 0]))
    assert found == pytest.approx([math.log(5 / 8), math.log(3 / 8)])
    moved = label_log_probabilities(logits + np.array([[700.0], [-700.0]]), np.array([2, 0]))
    assert moved == pytest.approx(found)


def test_log_probabilities_are_torchs_cross_entropy_also_where_a_probability_is_zero() -> None:
    torch = pytest.importorskip("torch")
    logits = 1000.0 * np.random.default_rng(0).standard_normal((8, 5))
    labels = np.arange(8) % 5
    loss = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits), torch.from_numpy(labels), reduction="none"
    )
    found = label_log_probabilities(logits, labels)
    assert found.min() < -745, "exp of it is 0"
    np.testing.assert_allclose(found, -loss.numpy(), rtol=1e-12, atol=1e-12)
