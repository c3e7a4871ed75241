"""Classification figures against hand counts and scikit-learn, and ties that never help."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import log_loss, precision_score, recall_score

from clipkit.embeddings import normalize_rows
from clipkit.evaluation.classification import (
    class_results,
    image_values,
    score_images,
    score_log_probabilities,
    template_result,
)
from clipkit.metrics.comparison import ItemValues, class_mean_interval
from clipkit.runtime.base import Scoring

SCORING = Scoring(log_scale=float(np.log(7.0)))


@pytest.fixture
def case() -> tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.float32]]:
    rng = np.random.default_rng(3)
    labels = rng.integers(8, size=300)
    classes = normalize_rows(rng.normal(size=(9, 12)).astype(np.float32))  # the last has no image
    images = normalize_rows(classes[labels] + rng.normal(size=(300, 12)).astype(np.float32))
    return images, labels, classes


def test_metrics_are_scikit_learns(
    case: tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.float32]],
) -> None:
    images, labels, classes = case
    scores = score_images(images, labels, classes, SCORING)
    values = image_values(scores, 9)
    metrics = {name: found.mean() for name, found in values.items()}

    logits = 7.0 * images.astype(np.float64) @ classes.T.astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    predicted = logits.argmax(axis=1)
    order = (-logits).argsort(axis=1)
    assert metrics["acc1"] == np.mean(predicted == labels)
    assert metrics["acc5"] == np.mean((order[:, :5] == labels[:, None]).any(axis=1))
    expected = recall_score(labels, predicted, labels=np.arange(8), average="macro")
    assert class_mean_interval(scores.is_right, labels).mean == pytest.approx(expected, abs=1e-12)
    expected = log_loss(labels, probabilities, labels=np.arange(9))
    assert metrics["nll"] == pytest.approx(expected, rel=1e-5)
    squares = (probabilities - np.eye(9)[labels]) ** 2
    assert metrics["brier"] == pytest.approx(squares.sum(axis=1).mean(), rel=1e-5)
    for name, found in values.items():
        interval = ItemValues(found, np.arange(300)).interval()
        assert interval.low < metrics[name] < interval.high

    results, confusions = class_results(scores, labels, [f"class {number}" for number in range(9)])
    assert [entry.name for entry in results] == [f"class {number}" for number in range(8)]
    recalls = recall_score(labels, predicted, labels=np.arange(8), average=None)
    precisions = precision_score(labels, predicted, labels=np.arange(8), average=None)
    assert [entry.recall for entry in results] == pytest.approx(list(recalls))
    assert [entry.precision for entry in results] == pytest.approx(list(precisions))
    for entry in confusions:
        label, other = int(entry.name[-1]), int(entry.taken_for[-1])
        assert entry.count == np.count_nonzero((labels == label) & (predicted == other))
    counts = [entry.count for entry in confusions]
    assert counts == sorted(counts, reverse=True)


def test_sigmoid_models_stay_sigmoid(
    case: tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.float32]],
) -> None:
    images, labels, classes = case
    scores = score_images(images, labels, classes, Scoring(float(np.log(7.0)), logit_bias=-3.0))
    logits = 7.0 * images.astype(np.float64) @ classes.T.astype(np.float64) - 3
    sigmoid = 1 / (1 + np.exp(-logits))
    right = np.eye(9)[labels] == 1
    np.testing.assert_allclose(scores.confidences, sigmoid.max(axis=1), rtol=1e-5)
    losses = -np.log(np.where(right, sigmoid, 1 - sigmoid)).sum(axis=1)
    np.testing.assert_allclose(scores.log_losses, losses, rtol=1e-4)
    np.testing.assert_allclose(scores.brier, ((sigmoid - right) ** 2).sum(axis=1), rtol=1e-4)


def test_equal_embeddings_score_as_a_guess_does() -> None:
    labels = np.repeat(np.arange(10), 5)
    constant = np.tile(np.array([[1, 0]], dtype=np.float32), (50, 1))
    classes = normalize_rows(np.random.default_rng(0).normal(size=(10, 2)).astype(np.float32))
    same_images = score_images(constant, labels, classes, SCORING)
    same_classes = score_images(constant, labels, constant[:10], SCORING)
    for scores in (same_images, same_classes):
        values = image_values(scores, 10)
        metrics = {name: found.mean() for name, found in values.items()}
        assert metrics["acc1"] == pytest.approx(0.1)
        assert class_mean_interval(scores.is_right, labels).mean == pytest.approx(0.1)
        assert metrics["acc5"] == pytest.approx(0.5)


def test_blocks_change_nothing(
    case: tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.float32]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = score_images(*case, SCORING)
    monkeypatch.setattr("clipkit.evaluation.classification._BLOCK_CELLS", 64)
    parts = score_images(*case, SCORING)
    np.testing.assert_array_equal(parts.ranks, whole.ranks)
    np.testing.assert_allclose(parts.log_losses, whole.log_losses, rtol=1e-5)


def test_log_probabilities_of_a_probe_are_scored_as_they_are() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    scores = score_log_probabilities(np.log(probabilities), np.array([0, 1]))
    np.testing.assert_allclose(scores.confidences, [0.7, 0.6])
    np.testing.assert_allclose(scores.log_losses, -np.log([0.7, 0.3]))
    assert scores.ranks.tolist() == [0, 1]


def test_templates_are_compared_on_the_same_images() -> None:
    labels = np.zeros(4, dtype=np.intp)
    before = score_log_probabilities(
        np.log([[0.4, 0.6], [0.6, 0.4], [0.6, 0.4], [0.4, 0.6]]), labels
    )
    after = score_log_probabilities(
        np.log([[0.6, 0.4], [0.6, 0.4], [0.4, 0.6], [0.6, 0.4]]), labels
    )
    found = template_result("photo", after, before)
    assert (found.acc1, found.gained, found.lost) == (0.75, 2, 1)
    assert found.lift.mean == pytest.approx(0.25)
