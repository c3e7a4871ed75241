"""Relevance by hand, against a slow reference, at its edges; then on real images."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clipkit.background_words import BACKGROUND_NAMES
from clipkit.embeddings import normalize_rows
from clipkit.encoder.encoder import Encoder
from clipkit.errors import InputError
from clipkit.search.relevance import (
    CUT_Z,
    DEFAULT_MIN_RELEVANCE,
    SAMPLE_PRIOR,
    SLOPE,
    SYNONYM_SPREADS,
    NullDistribution,
    relevance_of,
)

Rows = NDArray[np.float64]
WORDS, IMAGE = [False], [True]


def random_rows(seed: int, count: int, dimensions: int = 12, *, lean: float = 0.0) -> Rows:
    """Return rows of norm 1; the lean turns them all to one side, as a modality is turned."""
    rows = np.random.default_rng(seed).normal(size=(count, dimensions))
    rows[:, 0] += lean
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


# By hand


def test_z_score_by_hand() -> None:
    # The words' centre is the origin. A hit at (.6, .8) scores .6 for the query and .6, -.6, .8,
    # -.8 for the words: mean 0, deviation sqrt(.5).
    null = NullDistribution([[1, 0], [-1, 0], [0, 1], [0, -1]], np.empty((0, 2)))
    (z_score,) = null.z_scores([[1.0, 0.0]], [1.0], WORDS, [[0.6, 0.8]])
    assert z_score == pytest.approx(0.6 / math.sqrt(0.5))


def test_words_are_seen_from_their_own_centre() -> None:
    # All lean to (0, 0, 1); without that, they are those of the test above.
    lean = [[0.8, 0, 0.6], [-0.8, 0, 0.6], [0, 0.8, 0.6], [0, -0.8, 0.6]]
    null = NullDistribution(lean, np.empty((0, 3)))
    (z_score,) = null.z_scores([[0.8, 0, 0.6]], [1.0], WORDS, [[0.6, 0.8, 0.0]])
    assert z_score == pytest.approx(0.6 / math.sqrt(0.5))


def test_a_synonym_in_the_bank_is_no_alternative() -> None:
    # Likeness of the words to the query, 1, 1, -1, -1 and twelve times 0: median and spread 0, so
    # that both copies are left out. The rest score -.6, -.6, then .8, -.8 in turns.
    bank = [[1.0, 0.0]] * 2 + [[-1.0, 0.0]] * 2 + [[0.0, 1.0], [0.0, -1.0]] * 6
    null = NullDistribution(bank, np.empty((0, 2)))
    (z_score,) = null.z_scores([[1.0, 0.0]], [1.0], WORDS, [[0.6, 0.8]])
    rest = [-0.6, -0.6, *[0.8, -0.8] * 6]
    assert z_score == pytest.approx((0.6 - statistics.mean(rest)) / statistics.pstdev(rest))


def test_relevance_is_half_at_the_cut_and_logistic_around_it() -> None:
    z_scores = [CUT_Z - 3, CUT_Z, CUT_Z + 0.5]
    expected = [1 / (1 + math.exp(-SLOPE * (z - CUT_Z))) for z in z_scores]
    np.testing.assert_allclose(relevance_of(z_scores), expected, rtol=1e-12)
    assert relevance_of([CUT_Z])[0] == DEFAULT_MIN_RELEVANCE
    assert relevance_of([-1e9, 1e9]).tolist() == [0.0, 1.0]


# Against a slow reference


def slow_z_score(
    query: Sequence[tuple[Rows, float, bool]], hit: Rows, bank: Rows, sample: Rows
) -> float:
    """Return the z-score of what is added, less the loss for each subtracted part."""
    added = [part for part in query if part[1] > 0]
    score = slow_sum_z_score(added or query, hit, bank, sample)
    for embedding, weight, is_image in query if added else ():
        if weight < 0:
            alone = slow_sum_z_score([(embedding, 1.0, is_image)], hit, bank, sample)
            share = -weight / max(weight for _, weight, _ in added)
            score -= share * max(alone - 2, 0)
    return score


def slow_sum_z_score(
    query: Sequence[tuple[Rows, float, bool]], hit: Rows, bank: Rows, sample: Rows
) -> float:
    """Return the z-score by loops over single vectors."""

    def unit(vector: Rows) -> Rows:
        return np.asarray(vector / math.sqrt(sum(x * x for x in vector)))

    def centred(rows: Rows) -> list[Rows]:
        centre = sum(rows) / len(rows)
        return [unit(row - centre) for row in rows]

    def z_score(parts: list[tuple[Rows, list[Rows], float]]) -> float:
        count = max(len(others) for _, others, _ in parts)
        target = unit(sum(weight * part for part, _, weight in parts))  # type: ignore[arg-type]
        alternatives = []
        for number in range(count):
            mixed = np.zeros(len(hit))
            for place, (_, others, weight) in enumerate(parts):
                shift = place * len(others) // len(parts)
                mixed = mixed + weight * others[(number + shift) % len(others)]
            alternatives.append(unit(mixed))
        likeness = [float(a @ target) for a in alternatives]
        middle = statistics.median(likeness)
        spread = 1.4826 * statistics.median(abs(value - middle) for value in likeness)
        scores = [
            float(a @ hit)
            for a, value in zip(alternatives, likeness, strict=True)
            if value <= middle + SYNONYM_SPREADS * spread
        ]
        return (float(target @ hit) - statistics.mean(scores)) / statistics.pstdev(scores)

    words, images = centred(bank), centred(sample)
    described, seen = [], []
    for embedding, weight, is_image in query:
        if is_image:
            fits = [float(word @ embedding) for word in words]
            powers = [math.exp(fit / statistics.pstdev(fits)) for fit in fits]
            mean = sum(power * word for power, word in zip(powers, words, strict=True))
            described.append((unit(np.asarray(mean)), words, weight))
            seen.append((unit(embedding - sum(sample) / len(sample)), images, weight))
        else:
            part = (unit(embedding - sum(bank) / len(bank)), words, weight)
            described.append(part)
            seen.append(part)
    if not any(is_image for *_, is_image in query):
        return z_score(described)
    trust = len(sample) / (len(sample) + SAMPLE_PRIOR)
    return trust * z_score(seen) + (1 - trust) * z_score(described)


@pytest.mark.parametrize(
    ("weights", "is_image"),
    [
        ([1.0], WORDS),
        ([1.0], IMAGE),
        ([1.0, 1.0], [False, False]),
        ([1.0, 0.7], [True, False]),
        ([2.0, -1.0, 0.5], [False, True, False]),
        ([0.5, -2.0, -1.0], [True, True, False]),
        ([-1.0, -0.5], [False, True]),
        ([1.0, 1.0], [True, True]),
    ],
)
@pytest.mark.parametrize("num_images", [7, 60])
def test_agrees_with_the_slow_reference(
    weights: list[float], is_image: list[bool], num_images: int
) -> None:
    bank, sample = random_rows(1, 40, lean=2.0), random_rows(2, num_images, lean=-3.0)
    parts, hits = random_rows(3, len(weights)), random_rows(4, 5, lean=-3.0)
    hits[0] = parts[0]  # what fits well, also where it is subtracted
    hits[1] = parts[-1]
    query = list(zip(parts, weights, is_image, strict=True))
    expected = [slow_z_score(query, hit, bank, sample) for hit in hits]
    found = NullDistribution(bank, sample).z_scores(parts, weights, is_image, hits)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    relevance = NullDistribution(bank, sample).relevance(parts, weights, is_image, hits)
    np.testing.assert_allclose(relevance, relevance_of(expected), rtol=1e-9)


# What it does not depend on


def test_another_scale_of_cosines_changes_nothing() -> None:
    # Another model: images hardly vary, and point where no word points.
    bank, hits = random_rows(1, 40), random_rows(2, 9)
    null = NullDistribution(np.pad(bank, ((0, 0), (0, 1))), np.empty((0, 13)))
    query = np.pad(random_rows(3, 1), ((0, 0), (0, 1)))
    plain = np.pad(hits, ((0, 0), (0, 1)))
    narrow = np.concatenate([0.1 * hits, np.full((9, 1), math.sqrt(0.99))], axis=1)
    np.testing.assert_allclose(
        null.z_scores(query, [1.0], WORDS, narrow),
        null.z_scores(query, [1.0], WORDS, plain),
        rtol=1e-9,
    )


def test_weights_count_only_beside_each_other() -> None:
    null = NullDistribution(random_rows(1, 40), random_rows(2, 30))
    parts, hits = random_rows(3, 2), random_rows(4, 6)
    for kinds in ([False, False], [True, False], [True, True]):
        np.testing.assert_allclose(
            null.z_scores(parts, [3.0, -6.0], kinds, hits),
            null.z_scores(parts, [1.0, -2.0], kinds, hits),
            rtol=1e-9,
        )


def test_words_do_not_depend_on_the_library() -> None:
    # A folder of cats only: "cat" fits as well as it would elsewhere.
    bank, query, hits = random_rows(1, 40), random_rows(2, 1), random_rows(3, 6)
    alone = NullDistribution(bank, np.empty((0, 12))).z_scores(query, [1.0], WORDS, hits)
    among = NullDistribution(bank, hits[:1].repeat(50, axis=0))
    np.testing.assert_array_equal(among.z_scores(query, [1.0], WORDS, hits), alone)


@pytest.mark.parametrize("num_copies", [1, 20])
def test_copies_of_the_query_in_the_library_do_not_hide_each_other(num_copies: int) -> None:
    bank, others = random_rows(1, 60, 64), random_rows(2, 40, 64)
    image = others[:1]
    null = NullDistribution(bank, np.concatenate([others, image.repeat(num_copies, axis=0)]))
    copy, *strangers = null.relevance(image, [1.0], IMAGE, others)
    assert copy >= DEFAULT_MIN_RELEVANCE
    assert max(strangers) < DEFAULT_MIN_RELEVANCE


@pytest.mark.parametrize("num_images", [0, 1, 2, 5])
@pytest.mark.parametrize("kinds", [WORDS, IMAGE])
def test_tiny_libraries_have_relevances_too(num_images: int, kinds: list[bool]) -> None:
    images = random_rows(2, 5)
    null = NullDistribution(random_rows(1, 40), images[:num_images])
    relevance = null.relevance(images[:1], [1.0], kinds, images)
    assert np.all((relevance >= 0) & (relevance <= 1))
    assert null.relevance(images[:1], [1.0], kinds, np.empty((0, 12))).shape == (0,)


def test_a_library_of_one_image_says_nothing_about_itself() -> None:
    # Its centre is the image, so that only the words are left to compare with.
    bank, image = random_rows(1, 40), random_rows(2, 1)
    by_words = NullDistribution(bank, np.empty((0, 12))).z_scores(image, [1.0], IMAGE, image)
    found = NullDistribution(bank, image).z_scores(image, [1.0], IMAGE, image)
    np.testing.assert_allclose(found, by_words * SAMPLE_PRIOR / (1 + SAMPLE_PRIOR), rtol=1e-9)


# What is refused


def test_shapes_must_fit() -> None:
    bank, sample = random_rows(1, 8), random_rows(2, 3)
    with pytest.raises(InputError, match=r"the bank must have shape \(B, D\) .* got \(1, 12\)"):
        NullDistribution(bank[:1], sample)
    with pytest.raises(InputError, match=r"got \(8, 12\) and \(3, 11\)"):
        NullDistribution(bank, sample[:, 1:])
    null = NullDistribution(bank, sample)
    with pytest.raises(InputError, match=r"parts of shape \(2, 12\).* got \(1, 12\) and 1 kinds"):
        null.relevance(sample[:1], [1.0, 1.0], [False], sample)
    with pytest.raises(InputError, match="at least one part"):
        null.relevance(np.empty((0, 12)), [], [], sample)
    with pytest.raises(InputError, match=r"hits must have shape \(K, 12\), got \(3, 11\)"):
        null.relevance(sample[:1], [1.0], WORDS, sample[:, 1:])


# The embedded model, on real images


@pytest.fixture(scope="module")
def bank(starter: Encoder) -> NDArray[np.float32]:
    return starter.encode_texts(list(BACKGROUND_NAMES))


@pytest.mark.slow
def test_words_without_an_image_mostly_find_nothing(
    starter: Encoder, samples: list[Path], bank: NDArray[np.float32]
) -> None:
    images = starter.encode_images(samples)
    null = NullDistribution(bank, images)
    absent = ["banana", "pizza", "helicopter", "piano", "snake", "laptop", "umbrella", "bus"]
    there = ["cat", "panda", "polar bear", "crab", "castle", "cup of coffee", "coral reef", "drums"]

    def finds(words: str) -> bool:
        found = null.relevance(starter.encode_texts([words]), [1.0], WORDS, images)
        return bool(np.any(found >= DEFAULT_MIN_RELEVANCE))

    assert sum(map(finds, absent)) <= 1
    assert sum(map(finds, there)) >= 7


@pytest.mark.slow
@pytest.mark.parametrize("num_others", [0, 4, 44])
def test_a_saved_copy_is_relevant_to_its_original(
    starter: Encoder,
    samples: list[Path],
    bank: NDArray[np.float32],
    tmp_path: Path,
    num_others: int,
) -> None:
    cat = next(path for path in samples if path.name == "cat.jpg")
    others = [path for path in samples if path != cat]
    Image.open(cat).save(tmp_path / "copy.jpg", quality=60)
    original, copy, *rest = starter.encode_images([cat, tmp_path / "copy.jpg", *others])
    sample = normalize_rows(np.stack([copy, *rest[:num_others]]))
    null = NullDistribution(bank, sample)
    copied, *different = null.relevance(original[None], [1.0], IMAGE, np.stack([copy, *rest]))
    assert copied >= DEFAULT_MIN_RELEVANCE
    assert np.mean(np.array(different) >= DEFAULT_MIN_RELEVANCE) < 0.05
