"""The linear adapter: its loss, where it ends beside the published search, and what holds it."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime  # type: ignore[import-untyped]

from clipkit.adaptation.linear_adapter import _Loss, adapted_embeddings, fit_adapter
from clipkit.adaptation.support import Support
from clipkit.metrics.classification import top_k_accuracy
from tests.adaptation.made_support import made_support


def slow_loss(matrix: np.ndarray, support: Support, strength: float) -> float:
    """Return the loss of a whole matrix as the paper writes it, image by image."""
    total = strength * ((matrix - np.eye(len(matrix))) ** 2).sum()
    for row, label in zip(support.embeddings.astype(np.float64), support.labels, strict=True):
        moved = matrix @ row
        logits = support.logit_scale * support.class_embeddings @ (moved / np.linalg.norm(moved))
        exps = np.exp(logits - logits.max())
        total -= np.log(exps[label] / exps.sum()) / len(support.labels)
    return float(total)


@pytest.mark.parametrize("counts", [[2, 1], [6, 5, 4]])  # fewer images than dimensions, and more
def test_loss_and_gradient_are_those_of_the_slow_reference(counts: list[int]) -> None:
    support = made_support(counts)
    loss = _Loss(support, 0.5)
    flat = np.random.default_rng(1).normal(0, 0.2, loss.size)
    value, gradient = loss(flat)
    assert value == pytest.approx(slow_loss(loss.matrix(flat), support, 0.5), rel=1e-9)
    expected = approx_fprime(
        flat, lambda changed: slow_loss(loss.matrix(changed), support, 0.5), 1e-7
    )
    np.testing.assert_allclose(gradient, expected, atol=2e-4)


def test_it_ends_where_the_published_search_ends_if_that_goes_on() -> None:
    # Adam on the whole matrix, learning rate from 1e-2 to 0 by a cosine, eps 1e-4; ten times the
    # published 300 steps.
    torch = pytest.importorskip("torch")
    support = made_support([3, 4, 2], wrong_texts=True)
    strength = 1 / 3
    rows, texts = (torch.tensor(part, dtype=torch.float64) for part in parts(support))
    labels = torch.tensor(support.labels)
    matrix = torch.eye(rows.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([matrix], lr=1e-2, eps=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3000)
    for _ in range(3000):
        units = torch.nn.functional.normalize(rows @ matrix.T, dim=-1)
        loss = torch.nn.functional.cross_entropy(support.logit_scale * units @ texts.T, labels)
        loss = loss + strength * ((matrix - torch.eye(len(matrix))) ** 2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    published = matrix.detach().numpy()
    own = adapted_embeddings(support, strength)
    lowest = slow_loss(own.adapter, support, strength)
    assert lowest == pytest.approx(slow_loss(published, support, strength), rel=1e-3)
    np.testing.assert_allclose(own.adapter, published, atol=0.02)


def parts(support: Support) -> tuple[np.ndarray, np.ndarray]:
    return support.embeddings.astype(np.float64), support.class_embeddings.astype(np.float64)


def test_a_strong_pull_is_zero_shot() -> None:
    support = made_support([4, 4])
    found = adapted_embeddings(support, 1e9)
    np.testing.assert_allclose(found.adapter, np.eye(8), atol=1e-6)
    np.testing.assert_allclose(
        found.logits(support.embeddings), support.zero_shot(support.embeddings), atol=1e-3
    )


def test_where_texts_are_wrong_a_few_images_mend_it() -> None:
    support, test = (made_support([5] * 4, seed=seed, wrong_texts=True) for seed in (0, 1))
    found = fit_adapter(support).classifier.logits(test.embeddings)
    assert top_k_accuracy(found, test.labels, k=1) > 0.8


def test_one_image_a_class_is_enough_to_move() -> None:
    support = made_support([1, 1, 1], wrong_texts=True)
    fitted = fit_adapter(support)
    assert fitted.held_out is None
    moved = fitted.classifier.logits(support.embeddings)
    assert np.abs(moved - support.zero_shot(support.embeddings)).max() > 1
