"""Which images to label next: against variances as they are defined; what is never taken."""

import numpy as np
import pytest
from numpy.typing import NDArray

from clipkit.adaptation import next_labels
from clipkit.adaptation.next_labels import choose_next, count_like, doubt, is_copy
from clipkit.embeddings import Embeddings, normalize_rows


def drawn(count: int, *, seed: int = 0, dim: int = 6) -> Embeddings:
    """Return directions drawn at random, some of them near each other."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(5, dim))
    rows = centers[rng.integers(5, size=count)] + rng.normal(0, 0.4, (count, dim))
    return normalize_rows(rows)


def left_variance(rows: Embeddings, weights: NDArray[np.float64], taken: Embeddings) -> float:
    """Return the weighted variance of a Gaussian process at rows, once others are observed."""
    exact, known = rows.astype(np.float64), taken.astype(np.float64)
    noisy = np.exp(known @ known.T - 1) + 0.1 * np.eye(len(known))
    across = np.exp(exact @ known.T - 1)
    return float(weights @ (1 - np.diag(across @ np.linalg.inv(noisy) @ across.T)))


@pytest.mark.parametrize("num_labelled", [0, 7])
def test_each_choice_leaves_the_least_variance(num_labelled: int) -> None:
    rows, labelled = drawn(40), drawn(7, seed=1)[:num_labelled]
    weights = np.random.default_rng(2).random(40)
    center = np.concatenate([rows, labelled]).mean(axis=0)
    seen, known = normalize_rows(rows - center), labelled - center
    known = normalize_rows(known) if len(known) else known
    wanted: list[int] = []
    for _ in range(6):
        left = {
            place: left_variance(seen, weights, np.concatenate([known, seen[[*wanted, place]]]))
            for place in range(len(rows))
            if place not in wanted
        }
        wanted.append(min(left, key=lambda place: left[place]))
    assert choose_next(rows, weights, labelled, 6).tolist() == wanted


def test_one_of_each_cluster_comes_first_and_those_with_labels_last() -> None:
    axes = np.eye(8, dtype=np.float32)[:4]
    scatter = np.random.default_rng(0).normal(0, 0.05, (40, 8))
    rows = normalize_rows(np.repeat(axes, 10, axis=0) + scatter)
    first = choose_next(rows, np.ones(len(rows)), rows[:0], 4)
    assert sorted((first // 10).tolist()) == [0, 1, 2, 3]
    after = choose_next(rows[10:], np.ones(30), rows[:1], 3)
    assert sorted((after // 10).tolist()) == [0, 1, 2]


def test_what_the_classifier_is_sure_of_comes_last() -> None:
    axes = np.eye(8, dtype=np.float32)[:4]
    scatter = np.random.default_rng(0).normal(0, 0.05, (40, 8))
    rows = normalize_rows(np.repeat(axes, 10, axis=0) + scatter)
    sure = np.repeat([[0.99, 0.01], [0.5, 0.5]], 20, axis=0)
    assert (choose_next(rows, doubt(sure), rows[:0], 2) >= 20).all()
    assert doubt(sure)[[0, 39]] == pytest.approx([1 - 0.99**2 - 0.01**2, 0.5])


def test_copies_are_taken_once_and_fewer_come_back() -> None:
    rows = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    chosen = choose_next(rows, np.ones(len(rows)), rows[:0], 20)
    assert sorted((chosen // 4).tolist()) == [0, 1, 2]
    assert choose_next(rows[:1], np.ones(1), rows[:0], 5).tolist() == [0]


def test_of_many_images_some_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(next_labels, "MOST_COMPARED", 10)
    rows = drawn(50)
    chosen = choose_next(rows, np.ones(len(rows)), rows[:0], 30)
    assert len(set(chosen.tolist())) == 30
    some = choose_next(rows, np.ones(len(rows)), rows[:0], 10)
    assert sorted(some.tolist()) == sorted(np.random.default_rng(0).permutation(50)[:10].tolist())


def test_copies_of_labelled_images_are_known() -> None:
    labelled = np.eye(3, dtype=np.float32)
    # Cosines to the first of .9995 and .9985, on either side of .999.
    near, far = (np.array([c, np.sqrt(1 - c**2), 0], np.float32) for c in (0.9995, 0.9985))
    rows = np.stack([labelled[2], near, far])
    assert is_copy(rows, labelled).tolist() == [True, True, False]
    assert is_copy(rows, labelled[:0]).tolist() == [False] * 3


def test_images_count_where_they_are_most_alike() -> None:
    rows = normalize_rows([[1, 0, 0], [9, 1, 0], [9, 2, 0], [0, 1, 0], [0, 0, 1], [0, 1, 9]])
    labelled = rows[4:5]
    assert count_like(rows, labelled, np.array([0, 3])).tolist() == [3, 1]
    assert count_like(rows[[0, 1, 3, 5]], rows[:0], np.array([2, 0])).tolist() == [2, 2]
