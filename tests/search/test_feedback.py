"""Feedback, against arithmetic by hand and ridge regression in its usual form."""

import numpy as np
import pytest

from clipkit.embeddings import Embeddings, normalize_rows
from clipkit.errors import InputError
from clipkit.search.feedback import refit_direction

NONE = np.empty((0, 2))
FLAT = np.zeros(2)  # a centre that changes nothing
RIGHT = np.array([1.0, 0.0], dtype=np.float32)
DIMENSIONS = 12


def ridge(
    liked: np.ndarray, disliked: np.ndarray, query: np.ndarray, noise: list[float]
) -> np.ndarray:
    """Return the minimum of |w - 0.4 q|^2 + sum (w.x - y)^2 / noise by its normal equations."""
    matrix, right = np.eye(len(query)), 0.4 * query
    for target, rows, variance in zip((1.0, 0.0), (liked, disliked), noise, strict=True):
        for row in rows:
            matrix += np.outer(row, row) / variance
            right = right + target * row / variance
    weights = np.linalg.solve(matrix, right)
    return np.asarray(weights / np.linalg.norm(weights))


def random_rows(num_rows: int, seed: int) -> Embeddings:
    return normalize_rows(np.random.default_rng(seed).standard_normal((num_rows, DIMENSIONS)))


def test_refit_to_one_liked_picture_by_hand() -> None:
    # 0.4 * (1, 0) + (0, 1) * (1 - 0) / (1 + 4)
    direction = refit_direction([[0.0, 1.0]], NONE, FLAT, RIGHT)
    np.testing.assert_allclose(direction, np.array([0.4, 0.2]) / 0.2**0.5, atol=1e-6)
    assert direction.dtype == np.float32


def test_refit_to_one_disliked_picture_by_hand() -> None:
    # 0.4 * (1, 0) + (0.6, 0.8) * (0 - 0.24) / (1 + 4)
    direction = refit_direction(NONE, [[0.6, 0.8]], FLAT, RIGHT)
    expected = np.array([0.4 - 0.6 * 0.048, -0.8 * 0.048])
    np.testing.assert_allclose(direction, expected / np.linalg.norm(expected), atol=1e-6)


@pytest.mark.parametrize(
    ("num_liked", "num_disliked", "noise"),
    [
        (1, 0, [4.0, 4.0]),
        (3, 3, [4.0, 4.0]),
        (30, 30, [4.0, 4.0]),
        (30, 5, [4.0, 4.0]),
        (5, 30, [4.0, 24.0]),  # six times as many disliked, six times the noise
        (0, 7, [4.0, 28.0]),
    ],
)
def test_refit_is_ridge_regression_from_the_query(
    num_liked: int, num_disliked: int, noise: list[float]
) -> None:
    marked, query = random_rows(num_liked + num_disliked, seed=1), random_rows(1, seed=2)[0]
    liked, disliked = marked[:num_liked], marked[num_liked:]
    found = refit_direction(liked, disliked, np.zeros(DIMENSIONS), query)
    np.testing.assert_allclose(found, ridge(liked, disliked, query, noise), atol=1e-6)
    assert np.linalg.norm(found) == pytest.approx(1.0, abs=1e-6)


def test_refit_without_a_query_starts_at_nothing() -> None:
    liked, disliked = random_rows(4, seed=3), random_rows(3, seed=4)
    found = refit_direction(liked, disliked, np.zeros(DIMENSIONS))
    expected = ridge(liked, disliked, np.zeros(DIMENSIONS), [4.0, 4.0])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_refit_to_one_picture_alone_is_the_picture_from_the_centre() -> None:
    np.testing.assert_allclose(
        refit_direction([[0.0, 1.0]], [], [0.5, 0.0]), [-1 / 5**0.5, 2 / 5**0.5], atol=1e-6
    )


def test_refit_to_disliked_pictures_alone_goes_away_from_them() -> None:
    away = refit_direction([], [[0.6, 0.8], [0.8, 0.6]], FLAT)
    np.testing.assert_allclose(away, [-(0.5**0.5), -(0.5**0.5)], atol=1e-6)


def test_refit_sees_marks_from_the_centre() -> None:
    rows, center = random_rows(5, seed=5), random_rows(1, seed=6)[0] * 0.5
    centred = normalize_rows(rows - center)
    np.testing.assert_allclose(
        refit_direction(rows[:3], rows[3:], center),
        refit_direction(centred[:3], centred[3:], np.zeros(DIMENSIONS)),
        atol=1e-6,
    )


@pytest.mark.parametrize("copies", [2, 30])
def test_refit_heeds_many_disliked_no_more_than_the_liked(copies: int) -> None:
    liked, disliked = random_rows(1, seed=7), random_rows(1, seed=8)
    center = np.zeros(DIMENSIONS)
    np.testing.assert_allclose(
        refit_direction(liked, np.repeat(disliked, copies, axis=0), center),
        refit_direction(liked, disliked, center),
        atol=1e-6,
    )


def test_refit_does_not_depend_on_the_order_of_marks() -> None:
    rows, query, center = random_rows(9, seed=9), random_rows(1, seed=10)[0], np.zeros(DIMENSIONS)
    np.testing.assert_allclose(
        refit_direction(rows[:5], rows[5:], center, query),
        refit_direction(rows[4::-1], rows[:4:-1], center, query),
        atol=1e-6,
    )


def test_refit_to_no_marks_is_the_query() -> None:
    np.testing.assert_allclose(refit_direction([], [], FLAT, RIGHT), RIGHT, atol=1e-7)


@pytest.mark.parametrize("liked", [[], [[0.6, 0.8]]])
def test_refit_to_nothing_raises(liked: list[list[float]]) -> None:
    with pytest.raises(InputError, match="nothing to search for"):
        refit_direction(liked, [], [0.6, 0.8])


def test_refit_to_shapes_that_do_not_fit_raises() -> None:
    with pytest.raises(InputError, match=r"got \(1, 3\) and \(2,\)"):
        refit_direction([[1.0, 0.0, 0.0]], [], FLAT)
    with pytest.raises(InputError, match=r"shape of the centre, \(2,\), got \(3,\)"):
        refit_direction([[1.0, 0.0]], [], FLAT, np.eye(3, dtype=np.float32)[0])
