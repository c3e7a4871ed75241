"""Mixing texts and images, against arithmetic by hand and the obvious way to do it."""

import itertools

import numpy as np
import pytest

from clipkit.embeddings import Embeddings, cosine_similarity, normalize_rows
from clipkit.errors import InputError
from clipkit.search.modality_gap import (
    center_rows,
    centered_similarities,
    check_remains,
    estimate_center,
    estimate_spread,
    mix_parts,
    subtraction_loss,
)

DIMENSIONS = 16
FLAT = np.zeros(2, dtype=np.float32)  # a centre that changes nothing


def cone(num_rows: int, seed: int, width: float = 1.0) -> Embeddings:
    """Return rows of norm 1 around a direction of their own."""
    rng = np.random.default_rng(seed)
    axis = rng.standard_normal(DIMENSIONS)
    return normalize_rows(axis + width * rng.standard_normal((num_rows, DIMENSIONS)))


@pytest.mark.parametrize("num_rows", [2, 3, 10, 400])
def test_estimate_center_has_the_mean_cosine_of_two_rows_as_its_product_with_the_mean(
    num_rows: int,
) -> None:
    rows = cone(num_rows, seed=1).astype(np.float64)
    mean_cosine = np.mean([a @ b for a, b in itertools.permutations(rows, 2)])
    center = estimate_center(rows.mean(axis=0), num_rows)
    assert center @ rows.mean(axis=0) == pytest.approx(mean_cosine, abs=1e-6)
    np.testing.assert_allclose(
        center / np.linalg.norm(center),
        rows.mean(axis=0) / np.linalg.norm(rows.mean(axis=0)),
        atol=1e-6,
    )


def test_estimate_center_of_a_half_turned_pair_by_hand() -> None:
    # Rows with cosine 0.5: |mean|^2 = 0.75, so the mean is shrunk by 0.5 / 0.75.
    rows = np.array([[1.0, 0.0], [0.5, 0.75**0.5]])
    np.testing.assert_allclose(
        estimate_center(rows.mean(axis=0), 2), rows.mean(axis=0) * 2 / 3, atol=1e-7
    )


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[0.6, 0.8]], [0.0, 0.0]),  # one image is no library
        ([[0.6, 0.8], [0.6, 0.8]], [0.6, 0.8]),  # copies have everything in common
        ([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0]),
        ([[1.0, 0.0], [-1.0, 0.0]], [0.0, 0.0]),
        ([[1.0, 0.0], [-0.8, 0.6]], [0.0, 0.0]),  # less than nothing in common
    ],
)
def test_estimate_center_of_tiny_libraries(rows: list[list[float]], expected: list[float]) -> None:
    center = estimate_center(np.mean(rows, axis=0), len(rows))
    np.testing.assert_allclose(center, expected, atol=1e-7)
    assert center.dtype == np.float32


def test_estimate_center_of_many_rows_is_their_mean() -> None:
    mean = cone(5000, seed=2).mean(axis=0)
    np.testing.assert_allclose(estimate_center(mean, 5000), mean, atol=1e-3)


@pytest.mark.parametrize(
    ("mean", "num_rows"), [([[1.0]], 1), ([1.0], 0), ([np.nan, 0.0], 2), ([np.inf, 0.0], 2)]
)
def test_estimate_center_of_no_mean_raises(mean: list[float], num_rows: int) -> None:
    with pytest.raises(InputError, match="mean of 1 or more embeddings"):
        estimate_center(mean, num_rows)


def test_center_rows_by_hand() -> None:
    rows = center_rows([[1.0, 0.0], [0.0, 1.0]], [0.5, 0.0])
    np.testing.assert_allclose(rows, [[1.0, 0.0], [-1 / 5**0.5, 2 / 5**0.5]], atol=1e-7)
    each = center_rows([[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 0.0]])
    np.testing.assert_allclose(each, [[0.5**0.5, -(0.5**0.5)], [0.0, 1.0]], atol=1e-7)


def test_center_rows_on_their_centre_say_nothing() -> None:
    rows = center_rows([[0.6, 0.8], [1.0, 0.0]], [0.6, 0.8001])
    assert rows[0].tolist() == [0.0, 0.0]
    assert np.linalg.norm(rows[1]) == pytest.approx(1.0)


def test_center_rows_of_no_rows_is_empty() -> None:
    assert center_rows(np.empty((0, 2)), FLAT).shape == (0, 2)


@pytest.mark.parametrize("shape", [(3,), (1, 2), (3, 2), (2, 1)])
def test_center_rows_with_centres_of_another_shape_raises(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"got \(2, 2\) and"):
        center_rows(np.eye(2), np.zeros(shape))


def test_mix_parts_is_rocchio_if_the_centre_is_0() -> None:
    # q (1,0), liked (.6,.8) and (.8,.6), disliked (0,1), weights 1, .75 and -.15
    parts = [[1.0, 0.0], [0.6, 0.8], [0.8, 0.6], [0.0, 1.0]]
    mixed = mix_parts(parts, [1.0, 0.375, 0.375, -0.15], FLAT)
    np.testing.assert_allclose(mixed, [0.971072, 0.238788], atol=1e-6)


@pytest.mark.parametrize("weights", [[1.0, 1.0], [1.0, -1.0], [-0.5, 2.0]])
def test_mix_parts_does_not_see_what_all_texts_or_all_images_share(weights: list[float]) -> None:
    # What a part says lies in the first two dimensions; the others hold its kind's cone.
    said = np.array([[0.6, 0.8], [-0.28, 0.96]])
    text_cone, image_cone = np.array([0, 0, 0.8, 0]), np.array([0, 0, 0.1, 0.3])
    parts = np.zeros((2, 4))
    for row, center in enumerate((text_cone, image_cone)):
        parts[row] = center
        parts[row, :2] = said[row] * (1 - center @ center) ** 0.5
    mixed = mix_parts(parts, weights, np.stack([text_cone, image_cone]))
    expected = weights @ said
    np.testing.assert_allclose(mixed[:2], expected / np.linalg.norm(expected), atol=1e-6)
    np.testing.assert_allclose(mixed[2:], 0.0, atol=1e-6)


def test_mix_parts_that_cancel_out_raises() -> None:
    with pytest.raises(InputError, match="cancel out"):
        mix_parts([[0.6, 0.8], [0.6, 0.8]], [2.0, -2.0], FLAT)


@pytest.mark.parametrize(("cosine", "remains"), [(0.84, True), (0.86, False), (1.0, False)])
def test_what_means_the_same_cannot_be_subtracted(cosine: float, remains: bool) -> None:
    added = np.array([1.0, 0.0], np.float32)
    subtracted = np.array([cosine, (1 - cosine**2) ** 0.5], np.float32)
    if remains:
        check_remains(added, subtracted)
        return
    with pytest.raises(InputError, match=rf"cancel out: .*\(cosine {cosine:.2f}"):
        check_remains(added, subtracted)


def test_the_loss_is_what_exceeds_two_spreads() -> None:
    spreads = np.array([[-3.0, 0.0], [2.0, 2.5]])
    assert subtraction_loss(spreads).tolist() == [[0.0, 0.0], [0.0, 0.5]]


def test_the_spread_is_the_root_mean_square_of_the_cosines() -> None:
    # Cosines .6, 0, .8 and 1 (an image and itself, which does not count).
    rows, images = [[1.0, 0.0], [0.0, 1.0]], [[0.6, 0.8], [0.0, 1.0]]
    expected = ((0.6**2 + 0.0 + 0.8**2) / 3) ** 0.5
    assert estimate_spread(rows, images) == pytest.approx(expected)


def test_the_spread_of_nothing_changes_nothing() -> None:
    none, one = np.empty((0, 2)), np.array([[1.0, 0.0]])
    assert estimate_spread(none, one) == estimate_spread(one, none) == 1.0
    assert estimate_spread(one, one) == 1.0  # a lone image has no other to be like
    copies = np.zeros((3, 2))  # as copies are, seen from their centre
    assert 0 < estimate_spread(copies, copies) < 0.01


def test_mix_parts_of_negative_weights_alone_goes_away_from_them() -> None:
    np.testing.assert_allclose(mix_parts([[0.6, 0.8]], [-2.0], FLAT), [-0.6, -0.8], atol=1e-6)


@pytest.mark.parametrize("weight", [np.nan, np.inf, -np.inf])
def test_mix_parts_with_an_endless_weight_raises(weight: float) -> None:
    with pytest.raises(InputError, match="finite"):
        mix_parts(np.eye(2), [1.0, weight], FLAT)


def test_mix_parts_that_say_nothing_raises() -> None:
    with pytest.raises(InputError, match="cancel out"):
        mix_parts([[0.6, 0.8]], [1.0], [0.6, 0.8])


def test_mix_parts_with_too_few_weights_raises() -> None:
    with pytest.raises(InputError, match="got 1 weights"):
        mix_parts(np.eye(2), [1.0], FLAT)


@pytest.mark.parametrize("num_rows", [1, 2, 3, 500])
def test_centered_similarities_are_cosines_of_centred_rows(num_rows: int) -> None:
    rows, query = cone(num_rows, seed=3, width=0.3), cone(1, seed=4)[0]
    center = estimate_center(rows.mean(axis=0), num_rows)
    scores = np.stack([rows @ query, rows @ center], axis=1)
    expected = cosine_similarity(normalize_rows(rows - center), query[None, :])[:, 0]
    found = centered_similarities(scores, query, center)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert found.dtype == np.float32


def test_centered_similarities_of_rows_on_the_centre_are_0() -> None:
    row, query = np.array([0.6, 0.8], np.float32), np.array([1.0, 0.0], np.float32)
    scores = [[row @ query, row @ row]]
    assert centered_similarities(scores, query, row)[0] == pytest.approx(0.0, abs=1e-4)


def test_centered_similarities_survive_rounded_scores() -> None:
    # Half precision may give a row a little more than norm 1, and a root of less than 0.
    found = centered_similarities(
        [[1.01, 1.01]], np.array([1.0, 0.0], np.float32), np.array([1.0, 0.0])
    )
    assert found.tolist() == [1.0]


@pytest.mark.parametrize(("shape", "dimensions"), [((3,), 2), ((3, 1), 2), ((3, 2), 3)])
def test_centered_similarities_of_other_shapes_raise(
    shape: tuple[int, ...], dimensions: int
) -> None:
    with pytest.raises(InputError, match=r"shape \(S, 2\)"):
        centered_similarities(np.zeros(shape), np.zeros(dimensions, np.float32), FLAT)
