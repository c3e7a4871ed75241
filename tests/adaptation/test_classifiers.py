"""Logits of linear classifiers and of votes."""

import numpy as np

from clipkit.adaptation.classifiers import (
    AdapterClassifier,
    CacheClassifier,
    LinearClassifier,
    cache_votes,
)
from tests.adaptation.made_support import made_support


def test_votes_are_those_of_the_paper_s_formula() -> None:
    support = made_support([3, 2, 4])
    images = made_support([2, 2, 2], seed=1).embeddings.astype(np.float64)
    cosines = images @ support.embeddings.T.astype(np.float64)
    expected = np.zeros((6, 3))
    for image in range(6):
        for key, label in enumerate(support.labels):
            expected[image, label] += np.exp(-5.5 * (1 - cosines[image, key]))
    np.testing.assert_allclose(cache_votes(cosines, support.labels, 3, beta=5.5), expected)


def test_a_cache_adds_weighted_votes_to_the_texts() -> None:
    # The worked example of two classes and three images at beta 5.5.
    keys = np.array([[1, 0], [0.6, 0.8], [0, 1]])
    classifier = CacheClassifier(2 * np.eye(2), keys, np.array([0, 0, 1]), alpha=3.0, beta=5.5)
    image = np.array([[0.5**0.5, 0.5**0.5]], dtype=np.float32)
    expected = 2**0.5 + 3 * np.array([[1.145928, 0.199705]])
    np.testing.assert_allclose(classifier.logits(image), expected, atol=1e-5)


def test_scaled_classifiers_have_scaled_logits() -> None:
    support = made_support([3, 2])
    rows = support.embeddings
    rng = np.random.default_rng(0)
    weights, bias = rng.normal(size=(2, 8)), rng.normal(size=2)
    keys = rows.astype(np.float64)
    for classifier in (
        LinearClassifier(weights, bias),
        CacheClassifier(weights, keys, support.labels, alpha=2.0, beta=3.0),
        AdapterClassifier(weights, rng.normal(size=(8, 8))),
    ):
        expected = 1.7 * classifier.logits(rows)
        np.testing.assert_allclose(classifier.scaled(1.7).logits(rows), expected)


def test_an_adapter_moves_embeddings_and_their_length_does_not_count() -> None:
    turn = np.array([[0.0, 3.0], [-3.0, 0.0]])  # by a quarter, and three times as long
    classifier = AdapterClassifier(np.array([[10.0, 0], [0, 10.0]]), turn)
    rows = np.array([[0.6, 0.8]], dtype=np.float32)
    np.testing.assert_allclose(classifier.logits(rows), [[8, -6]], atol=1e-5)
