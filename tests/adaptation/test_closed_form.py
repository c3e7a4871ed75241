"""SS-Text and the Gaussian discriminant, against worked values and scikit-learn."""

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from clipkit.adaptation.closed_form import (
    discriminant,
    fit_discriminant,
    fit_text_and_means,
    text_and_means,
)
from clipkit.metrics.classification import top_k_accuracy
from tests.adaptation.made_support import WORKED, made_support


def test_text_and_means_is_the_worked_example() -> None:
    weights = text_and_means(WORKED, 1.0).weights / 100
    np.testing.assert_allclose(weights, np.array([[0.710865, 0.703329], [0, 1]]), atol=1e-6)


def test_no_share_of_the_images_is_zero_shot() -> None:
    support = made_support([3, 1, 2])
    found = text_and_means(support, 0.0).logits(support.embeddings)
    np.testing.assert_allclose(found, support.zero_shot(support.embeddings), rtol=1e-6)


def test_the_discriminant_is_the_worked_example() -> None:
    found = discriminant(WORKED)
    np.testing.assert_allclose(found.weights, np.array([[70, 70], [100 / 3, 200 / 3]]), rtol=1e-5)
    np.testing.assert_allclose(found.bias, [-49.693147, -34.026481], rtol=1e-5)


def test_the_discriminant_is_scikit_learn_s_but_for_its_shrinkage() -> None:
    # LDA's rule with the covariance given: W = S^-1 mu, b = ln p - mu S^-1 mu / 2.
    support = made_support([20, 20, 20])
    rows = support.embeddings.astype(np.float64)
    means = np.stack([rows[support.labels == label].mean(axis=0) for label in range(3)])
    centred = rows - means[support.labels]
    scatter = centred.T @ centred
    shrunk = (scatter + np.trace(scatter) / 59 * np.eye(8)) / 8

    class GivenCovariance:
        def fit(self, _: object) -> "GivenCovariance":
            self.covariance_ = shrunk
            return self

    reference = LinearDiscriminantAnalysis(
        solver="lsqr", covariance_estimator=GivenCovariance(), priors=[1 / 3] * 3
    ).fit(rows, support.labels)
    images = made_support([5, 5, 5], seed=3).embeddings
    expected = reference.decision_function(images.astype(np.float64))
    found = discriminant(support).logits(images)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_classes_without_images_and_images_all_alike_are_no_error() -> None:
    support = made_support([3, 0, 3])
    assert np.isfinite(discriminant(support).logits(support.embeddings)).all()
    alike = support.take(np.array([0, 0, 0]))
    assert discriminant(alike).logits(alike.embeddings).tolist() == [[0, 0, 0]] * 3


def test_where_texts_are_wrong_the_images_take_over() -> None:
    support, test = (made_support([6] * 4, seed=seed, wrong_texts=True) for seed in (0, 1))
    assert top_k_accuracy(test.zero_shot(test.embeddings), test.labels, k=1) < 0.2
    for fit in (fit_text_and_means, fit_discriminant):
        assert (
            top_k_accuracy(fit(support).classifier.logits(test.embeddings), test.labels, k=1) > 0.8
        )


def test_one_image_a_class_leaves_the_texts_as_they_are() -> None:
    support = made_support([1, 1, 1])
    found = fit_text_and_means(support).classifier.logits(support.embeddings)
    np.testing.assert_allclose(found, support.zero_shot(support.embeddings), rtol=1e-6)
