"""Linear probes: a problem that can be solved, shots, and what cannot be fitted."""

import numpy as np
import pytest

from clipkit.adaptation.linear_probe import fit_linear_probe
from clipkit.adaptation.splits import choose_shots
from clipkit.embeddings import normalize_rows
from clipkit.errors import InputError


def test_shots_are_so_many_of_each_class() -> None:
    labels = np.array([0] * 10 + [1] * 3 + [2] * 7)
    np.random.default_rng(5).shuffle(labels)
    rows = choose_shots(labels, 4, seed=0)
    assert np.bincount(labels[rows]).tolist() == [4, 3, 4]
    assert len({*rows.tolist()}) == len(rows)
    assert choose_shots(labels, 4, seed=0).tolist() == rows.tolist()
    assert choose_shots(labels, 4, seed=1).tolist() != rows.tolist()


def test_every_image_is_drawn_equally_often() -> None:
    labels = np.repeat([0, 1], [6, 4])
    counts = np.zeros(10)
    for seed in range(600):
        counts[choose_shots(labels, 2, seed)] += 1
    np.testing.assert_allclose(counts / 600, [1 / 3] * 6 + [1 / 2] * 4, atol=0.07)


@pytest.mark.parametrize("per_class", [1, 8])
def test_classes_that_lie_apart_are_told_apart(per_class: int) -> None:
    rng = np.random.default_rng(0)
    centres = np.eye(4, dtype=np.float32)[:3]

    def images(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.repeat(np.arange(3), count)
        noise = 0.1 * rng.normal(size=(len(labels), 4)).astype(np.float32)
        return normalize_rows(centres[labels] + noise), labels

    probe = fit_linear_probe(*images(per_class), seed=0)
    tested, labels = images(50)
    log_probabilities = probe.log_probabilities(tested)
    np.testing.assert_allclose(np.exp(log_probabilities).sum(axis=1), 1)
    assert np.mean(log_probabilities.argmax(axis=1) == labels) > 0.95
    assert probe.is_chosen == (per_class > 1)


@pytest.mark.parametrize("per_class", [1, 2])
def test_few_images_of_many_classes_are_no_regression(per_class: int) -> None:
    """scikit-learn's warning that they might be would be an error here, and puzzle a user."""
    labels = np.tile(np.arange(30), per_class)
    rows = np.eye(30, dtype=np.float32)[labels]
    found = fit_linear_probe(rows, labels, 0).log_probabilities(rows)
    assert (found.argmax(axis=1) == labels).all()


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(InputError, match="two classes at least"):
        fit_linear_probe(np.eye(2, dtype=np.float32), np.zeros(2, dtype=np.intp), seed=0)
    with pytest.raises(InputError, match="shots must be at least 1"):
        choose_shots(np.zeros(2, dtype=np.intp), 0, seed=0)
