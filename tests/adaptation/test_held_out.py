"""Settings and temperatures that held-out support images choose."""

import numpy as np
import pytest

from clipkit.adaptation.classifiers import LinearClassifier
from clipkit.adaptation.held_out import Fitted, HeldOut, Maker, best_of, fit_with_best_setting
from clipkit.adaptation.support import Support
from clipkit.metrics.calibration import best_log_probability
from clipkit.metrics.classification import label_log_probabilities
from tests.adaptation.made_support import made_support


def class_means(support: Support) -> LinearClassifier:
    """Return a classifier that knows the images only."""
    counts = np.maximum(support.counts, 1)[:, None]
    means = support.one_hot.T @ support.embeddings.astype(np.float64) / counts
    return LinearClassifier(20.0 * means, np.zeros(len(means)))


def mixtures(support: Support) -> Maker:
    """Return what mixes the means of the images with the texts of other classes."""
    means = class_means(support).weights
    texts = 20.0 * np.roll(support.class_embeddings, 1, axis=0)
    return lambda share: LinearClassifier(share * means + (1 - share) * texts, np.zeros(len(means)))


def test_the_setting_that_knows_most_of_held_out_images_is_chosen() -> None:
    support = made_support([5, 5, 5], spread=0.6)
    shares = (0.0, 0.05, 0.3, 1.0)
    known, logits = [], {}
    for share in shares:
        logits[share] = np.empty((15, 3))
        for part, left_out in support.folds(5):
            out = support.embeddings[left_out]
            logits[share][left_out] = mixtures(part)(share).logits(out)
        known.append(best_log_probability(logits[share], support.labels))
    best = shares[int(np.argmax(known))]
    found = fit_with_best_setting(support, shares, mixtures, default=0.0)
    assert best > 0
    rows = support.embeddings
    expected = mixtures(support)(best).logits(rows)
    np.testing.assert_array_equal(found.classifier.logits(rows), expected)
    assert found.held_out is not None
    np.testing.assert_array_equal(found.held_out.logits, logits[best])


def test_of_many_images_no_more_are_held_out_than_tell_settings_apart() -> None:
    support = made_support([400, 400, 400])  # folds of 240
    fitted_on: list[int] = []

    def makers(part: Support) -> Maker:
        fitted_on.append(len(part.labels))
        return mixtures(part)

    found = fit_with_best_setting(support, (0.0, 1.0), makers, default=0.0)
    assert fitted_on == [960, 960, 960, 1200]
    assert found.held_out is not None
    assert found.held_out.logits.shape == (720, 3)
    assert len(found.held_out.labels) == 720


def test_confidence_alone_wins_nothing() -> None:
    # Wrong answers that are less sure have the higher log probability, and know no more.
    support = made_support([5, 5, 5], wrong_texts=True)
    texts = LinearClassifier(support.class_embeddings.astype(np.float64), np.zeros(3))
    found = fit_with_best_setting(support, (20.0, 0.1), lambda part: texts.scaled, default=1.0)
    assert isinstance(found.classifier, LinearClassifier)
    np.testing.assert_array_equal(found.classifier.weights, 20 * texts.weights)


def test_of_equally_good_settings_the_first_is_taken() -> None:
    assert best_of([-2.0, -1.0, -1.0 + 1e-12]) == 1


def test_one_image_a_class_takes_the_default_and_leaves_the_temperature() -> None:
    support = made_support([1, 1])
    found = fit_with_best_setting(support, (0.0, 1.0), mixtures, default=0.25)
    assert found.held_out is None
    assert found.scale() == 1
    rows = support.embeddings
    np.testing.assert_array_equal(
        found.calibrated().logits(rows), mixtures(support)(0.25).logits(rows)
    )


@pytest.mark.parametrize("factor", [0.05, 20.0])
def test_a_wrong_temperature_is_mended(factor: float) -> None:
    support, test = (
        made_support(counts, spread=0.5, seed=seed)
        for counts, seed in (([10] * 3, 0), ([50] * 3, 1))
    )
    classifier = class_means(support).scaled(factor)
    others = made_support([10] * 3, spread=0.5, seed=2)
    fitted = Fitted(classifier, HeldOut(classifier.logits(others.embeddings), others.labels))
    before, after = (
        -label_log_probabilities(found.logits(test.embeddings), test.labels).mean()
        for found in (classifier, fitted.calibrated())
    )
    assert after < before
