"""Tip-Adapter's settings are those of a slow search that leaves each image out."""

import itertools

import numpy as np
import pytest

from clipkit.adaptation import tip_adapter
from clipkit.adaptation.classifiers import CacheClassifier
from clipkit.adaptation.support import Support
from clipkit.adaptation.tip_adapter import fit_tip_adapter
from clipkit.metrics.calibration import best_log_probability
from tests.adaptation.made_support import made_support

_ALPHAS = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
_BETAS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


def votes(support: Support) -> CacheClassifier:
    """Return the classifier that was fitted."""
    found = fit_tip_adapter(support).classifier
    assert isinstance(found, CacheClassifier)
    return found


def slow_search(support: Support) -> tuple[float, float]:
    """Return alpha and beta by fitting anew without each image."""
    found = {}
    for beta, alpha in itertools.product(_BETAS, _ALPHAS):
        logits = []
        for row in range(len(support.labels)):
            others = np.arange(len(support.labels)) != row
            classifier = CacheClassifier(
                20.0 * support.class_embeddings.astype(np.float64),
                support.embeddings[others].astype(np.float64),
                support.labels[others],
                alpha * 0.2,  # of a logit scale of 20 instead of 100
                beta,
            )
            logits.append(classifier.logits(support.embeddings[row : row + 1]))
        found[alpha * 0.2, beta] = best_log_probability(np.concatenate(logits), support.labels)
    highest = max(found.values())
    return next(setting for setting, value in found.items() if value > highest - 1e-6)


@pytest.mark.parametrize("wrong_texts", [False, True])
def test_settings_are_those_of_leaving_each_image_out(wrong_texts: bool) -> None:
    support = made_support([4, 3, 5], wrong_texts=wrong_texts, spread=0.5)
    found = votes(support)
    assert (found.alpha, found.beta) == pytest.approx(slow_search(support))


def test_many_images_are_judged_by_some_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tip_adapter, "_MOST_JUDGED", 6)
    support = made_support([4, 3, 5], wrong_texts=True)
    assert votes(support).alpha > 1
    assert len(votes(support).keys) == 12


def test_one_image_a_class_votes_for_nothing() -> None:
    support = made_support([1, 1, 1])
    found = votes(support)
    assert found.alpha == 0
    expected = support.zero_shot(support.embeddings)
    np.testing.assert_allclose(found.logits(support.embeddings), expected, rtol=1e-6)
