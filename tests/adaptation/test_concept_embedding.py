"""A concept's embedding: against a slow reference, and where it lies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipkit.adaptation.concept_embedding import (
    FILTER_RIDGE,
    RADIUS,
    WORDS_WEIGHT,
    embed_concept,
)
from clipkit.embeddings import Embeddings, normalize_rows
from clipkit.errors import InputError
from clipkit.search.rerank import refit_direction

SIZE = 16


def cone(seed: int, count: int, offset: float, *, axis: int = 0) -> Embeddings:
    """Return embeddings around one axis, as texts and images each have one."""
    rows = np.random.default_rng(seed).normal(size=(count, SIZE))
    rows[:, axis] += offset
    return normalize_rows(rows)


WORDS = cone(0, 60, 6.0)
LIBRARY = cone(1, 80, 6.0, axis=1)
CENTER = LIBRARY.mean(axis=0)


def shown(seed: int, count: int, direction: int = 5) -> Embeddings:
    rows = cone(seed, count, 6.0, axis=1).astype(float)
    rows[:, direction] += 0.8
    return normalize_rows(rows)


def unit(vector: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = vector / np.linalg.norm(vector)
    return scaled


def reference(
    images: Embeddings, others: Embeddings, center: np.ndarray, kind: Embeddings | None
) -> np.ndarray:
    """The steps of the module's docstring, one word and one axis at a time."""
    words = WORDS.astype(float)
    middle = sum(words) / len(words)
    prior = None if kind is None else unit(kind - middle).astype(np.float32)
    direction = refit_direction(images, others, center, prior).astype(float)
    first = unit(middle)
    second = unit(center - (center @ first) * first)
    direction = direction - (direction @ first) * first - (direction @ second) * second
    direction = unit(direction)
    covariance = sum(np.outer(word - middle, word - middle) for word in words) / len(words)
    variances, axes = np.linalg.eigh(covariance)
    ridge = FILTER_RIDGE * variances.sum() / min(len(words) - 1, SIZE)
    kept = sum(
        variance / (variance + ridge) * (axis @ direction) * axis
        for variance, axis in zip(variances, axes.T, strict=True)
    )
    fits = np.array([unit(word - middle) @ direction for word in words])
    weights = np.exp(fits / fits.std())
    fitting = sum(weight * unit(word - middle) for weight, word in zip(weights, words, strict=True))
    spread = np.sqrt(np.mean([((word - middle) ** 2).sum() for word in words]))
    said = unit(kept) + WORDS_WEIGHT * unit(fitting)
    return unit(middle + RADIUS * spread * unit(said))


@pytest.mark.parametrize("has_others", [False, True])
@pytest.mark.parametrize("has_kind", [False, True])
def test_it_is_what_the_slow_reference_says(has_others: bool, has_kind: bool) -> None:
    images = shown(3, 5)
    others = cone(4, 3, 6.0, axis=1) if has_others else None
    kind = cone(5, 1, 6.0)[0] if has_kind else None
    found = embed_concept(images, WORDS, others=others, image_center=CENTER, kind=kind)
    given_others = np.empty((0, SIZE), np.float32) if others is None else others
    expected = reference(images, given_others, CENTER.astype(float), kind)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.dtype == np.float32


def test_it_lies_among_the_texts_and_not_among_the_images() -> None:
    found = embed_concept(shown(3, 5), WORDS, image_center=CENTER)
    assert found @ unit(WORDS.mean(axis=0)) > 0.5
    assert abs(found @ unit(LIBRARY.mean(axis=0))) < 0.1
    mean = unit(shown(3, 5).mean(axis=0))
    assert mean @ unit(LIBRARY.mean(axis=0)) > 0.5


def test_it_finds_what_the_images_have_in_common() -> None:
    found = embed_concept(shown(3, 5), WORDS, image_center=CENTER)
    assert (shown(7, 40) @ found).mean() > (LIBRARY @ found).mean() + 0.02


def test_what_the_others_show_too_is_not_in_it() -> None:
    images = shown(3, 5).astype(float)
    images[:, 8] += 0.8  # where the images were taken, say: the others show that alone
    others = shown(9, 5, direction=8)
    alone = embed_concept(normalize_rows(images), WORDS, image_center=CENTER)
    told = embed_concept(normalize_rows(images), WORDS, others=others, image_center=CENTER)
    assert told[8] < alone[8]


def test_without_a_centre_it_is_made_of_words_alone() -> None:
    few = WORDS[:4].astype(float)  # their span is not the whole space
    found = embed_concept(shown(3, 5), few)
    basis, _ = np.linalg.qr(few.T)
    np.testing.assert_allclose(basis @ (basis.T @ found), found, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.booleans(), st.booleans())
def test_it_has_norm_1_and_does_not_depend_on_the_order(
    seed: int, count: int, has_center: bool, has_others: bool
) -> None:
    images = shown(seed, count)
    others = cone(seed + 1, 4, 6.0, axis=1) if has_others else None
    center = CENTER if has_center else None
    found = embed_concept(images, WORDS, others=others, image_center=center)
    np.testing.assert_allclose(np.linalg.norm(found), 1, atol=1e-5)
    again = embed_concept(images[::-1], WORDS, others=others, image_center=center)
    np.testing.assert_allclose(found, again, atol=1e-4)


def test_images_like_all_others_teach_nothing() -> None:
    center = unit(LIBRARY.mean(axis=0)).astype(np.float32)
    with pytest.raises(InputError, match="nothing in common that tells them"):
        embed_concept(center[None], WORDS, image_center=center)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.ones(SIZE), "must have shape"),
        (2 * np.eye(SIZE)[:2], "norm 1"),
        (np.eye(SIZE + 1)[:2], "images must have shape"),
    ],
)
def test_what_is_no_embeddings_is_refused(images: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        embed_concept(images, WORDS, image_center=CENTER)
