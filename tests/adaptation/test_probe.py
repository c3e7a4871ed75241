"""The probe that starts from the texts: its loss, where it ends, and what holds it."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime  # type: ignore[import-untyped]

from clipkit.adaptation.probe import _basis, _Loss, fit_probe, text_probe
from clipkit.adaptation.support import Support
from clipkit.metrics.classification import top_k_accuracy
from tests.adaptation.made_support import made_support


def slow_loss(weights: np.ndarray, support: Support, strength: float) -> float:
    """Return the loss as the paper writes it, image by image."""
    units = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    texts = support.class_embeddings.astype(np.float64)
    rows = support.embeddings.astype(np.float64)
    total = 0.0
    right: dict[int, list[float]] = {label: [] for label in range(len(texts))}
    for row, label in zip(rows, support.labels, strict=True):
        exps = np.exp(support.logit_scale * units @ row)
        total -= np.log(exps[label] / exps.sum()) / len(rows)
        by_text = np.exp(support.logit_scale * texts @ row)
        right[int(label)].append(by_text[label] / by_text.sum())
    for label, text in enumerate(texts):
        trust = np.mean(right[label]) if right[label] else 1.0
        total += strength * trust * ((weights[label] - text) ** 2).sum() / len(texts)
    return float(total)


@pytest.mark.parametrize("counts", [[3, 2, 4], [2, 0, 1]])
def test_loss_and_gradient_are_those_of_the_slow_reference(counts: list[int]) -> None:
    support = made_support(counts)
    rng = np.random.default_rng(1)
    weights = support.class_embeddings + rng.normal(0, 0.3, support.class_embeddings.shape)
    loss, gradient = _Loss(support, 2.5)(weights.ravel())
    assert loss == pytest.approx(slow_loss(weights, support, 2.5), rel=1e-6)
    expected = approx_fprime(
        weights.ravel(), lambda flat: slow_loss(flat.reshape(weights.shape), support, 2.5), 1e-7
    )
    np.testing.assert_allclose(gradient, expected, atol=2e-5)


def test_it_ends_where_no_step_lowers_the_loss() -> None:
    support = made_support([4, 4, 4], wrong_texts=True)
    weights = text_probe(support, 1.0).weights / support.logit_scale
    # Weights keep no norm: the loss pulls their length to the texts', so it is near 1.
    np.testing.assert_allclose(np.linalg.norm(weights, axis=1), 1, atol=1e-9)
    by_texts = slow_loss(support.class_embeddings.astype(np.float64), support, 1.0)
    assert slow_loss(weights, support, 1.0) < by_texts - 0.5


def test_a_strong_pull_leaves_the_texts() -> None:
    support = made_support([4, 4])
    weights = text_probe(support, 1e9).weights / support.logit_scale
    np.testing.assert_allclose(weights, support.class_embeddings, atol=1e-4)


def test_a_class_without_images_keeps_its_text_s_direction() -> None:
    support = made_support([5, 0, 5])
    weights = text_probe(support, 30.0).weights / support.logit_scale
    assert weights[1] @ support.class_embeddings[1] > 0.99


def test_where_texts_are_wrong_a_few_images_mend_it() -> None:
    support, test = (made_support([5] * 4, seed=seed, wrong_texts=True) for seed in (0, 1))
    found = fit_probe(support).classifier.logits(test.embeddings)
    assert top_k_accuracy(found, test.labels, k=1) > 0.8


def test_one_image_a_class_is_enough_to_move() -> None:
    support = made_support([1, 1, 1], wrong_texts=True)
    moved = fit_probe(support).classifier.logits(support.embeddings)
    assert np.abs(moved - support.zero_shot(support.embeddings)).max() > 1


def test_few_images_of_many_dimensions_are_fitted_in_their_span_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    support = made_support([4, 3, 2], dim=40)
    basis = _basis(support)
    assert basis.shape == (40, 12)
    np.testing.assert_allclose(basis.T @ basis, np.eye(12), atol=1e-12)
    inside = text_probe(support, 3.0).weights
    monkeypatch.setattr("clipkit.adaptation.probe._basis", lambda _: np.eye(40))
    np.testing.assert_allclose(inside, text_probe(support, 3.0).weights, atol=1e-4)
