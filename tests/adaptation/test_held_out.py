"""Settings and temperatures that held-out support images choose."""

from collections.abc import Callable

import numpy as np
import pytest

from clipkit.adaptation.classifiers import LinearClassifier
from clipkit.adaptation.held_out import best_of, choose_setting, held_out_logits, held_out_scale
from clipkit.adaptation.support import Support
from clipkit.metrics.calibration import best_log_probability
from clipkit.metrics.classification import label_log_probabilities
from tests.adaptation.made_support import made_support


def class_means(support: Support) -> LinearClassifier:
    """Return a classifier that knows the images only."""
    counts = np.maximum(support.counts, 1)[:, None]
    means = support.one_hot.T @ support.embeddings.astype(np.float64) / counts
    return LinearClassifier(20.0 * means, np.zeros(len(means)))


def test_held_out_logits_are_by_the_others() -> None:
    support = made_support([3, 2, 4])
    found = held_out_logits(support, class_means)
    for part, rows in support.folds(5):
        expected = class_means(part).logits(support.embeddings[rows])
        np.testing.assert_array_equal(found[rows], expected)


def test_the_setting_that_knows_most_of_held_out_images_is_chosen() -> None:
    support = made_support([5, 5, 5], spread=0.6)
    shares = (0.0, 0.05, 0.3, 1.0)  # of the means; the rest is of wrong texts

    def mixtures(part: Support) -> Callable[[float], LinearClassifier]:
        means, texts = class_means(part).weights, np.roll(part.class_embeddings, 1, axis=0)
        return lambda share: LinearClassifier(share * means + (1 - share) * texts, np.zeros(3))

    known = []
    for share in shares:

        def fit(part: Support, share: float = share) -> LinearClassifier:
            return mixtures(part)(share)

        known.append(best_log_probability(held_out_logits(support, fit), support.labels))
    assert choose_setting(support, shares, mixtures) == shares[int(np.argmax(known))] == 1.0


def test_confidence_alone_wins_nothing() -> None:
    # Wrong answers that are less sure have the higher log probability, and know no more.
    support = made_support([5, 5, 5], wrong_texts=True)
    texts = LinearClassifier(support.class_embeddings.astype(np.float64), np.zeros(3))
    assert choose_setting(support, (20.0, 0.1), lambda part: texts.scaled) == 20.0


def test_of_equally_good_settings_the_first_is_taken() -> None:
    assert best_of([-2.0, -1.0, -1.0 + 1e-12]) == 1
    support = made_support([3, 3])
    nothing = LinearClassifier(np.zeros((2, 8)), np.zeros(2))
    assert choose_setting(support, (7.0, 1.0), lambda part: lambda setting: nothing) == 7.0


@pytest.mark.parametrize("factor", [0.05, 20.0])
def test_a_wrong_temperature_is_mended(factor: float) -> None:
    support, test = (
        made_support(counts, spread=0.5, seed=seed)
        for counts, seed in (([10] * 3, 0), ([50] * 3, 1))
    )

    def fit(part: Support) -> LinearClassifier:
        return class_means(part).scaled(factor)

    losses = [
        -label_log_probabilities(found.logits(test.embeddings), test.labels).mean()
        for found in (fit(support), fit(support).scaled(held_out_scale(support, fit)))
    ]
    assert losses[1] < losses[0]


def test_one_image_a_class_leaves_the_temperature() -> None:
    support = made_support([1, 1])
    assert held_out_scale(support, class_means) == 1
