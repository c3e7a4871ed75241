"""Relevance by hand, against a slow reference, at its edges; then on real images."""

import io
import itertools
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis.strategies import floats, lists
from numpy.typing import NDArray
from PIL import Image

from clipkit.background_words import BACKGROUND_NAMES
from clipkit.embeddings import normalize_rows
from clipkit.encoder.encoder import Encoder
from clipkit.errors import InputError
from clipkit.search.relevance import (
    CENTER,
    COPY_COSINE,
    COPY_WEIGHT,
    DEFAULT_MIN_RELEVANCE,
    GAP_WEIGHT,
    IMAGE_VAGUENESS,
    IMAGE_WEIGHT,
    LARGEST_GAP,
    NOTHING_BELOW,
    SAMPLE_PRIOR,
    SIZE_WEIGHT,
    SLOPE,
    SYNONYM_SPREADS,
    RelevanceScale,
    relevance_of,
    verdict_of,
)
from clipkit.word_evidence import LEAST_RICHNESS, RICHNESS

Rows = NDArray[np.float64]
WORDS, IMAGE = [False], [True]


def random_rows(seed: int, count: int, dimensions: int = 12, *, lean: float = 0.0) -> Rows:
    """Return rows of norm 1; the lean turns them all to one side, as a modality is turned."""
    rows = np.random.default_rng(seed).normal(size=(count, dimensions))
    rows[:, 0] += lean
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


# By hand


def test_evidence_by_hand() -> None:
    # The words' centre is the origin. An image at (.6, .8) scores .6 for the query and .6, -.6, .8,
    # -.8 for the words: mean 0, deviation sqrt(.5). The query is as far from the centre as they.
    scale = RelevanceScale([[1, 0], [-1, 0], [0, 1], [0, -1]], np.empty((0, 2)))
    (evidence,) = scale.evidence([[1.0, 0.0]], [1.0], WORDS, [[0.6, 0.8]])
    assert evidence == pytest.approx(0.6 / math.sqrt(0.5))


def test_words_are_seen_from_their_own_centre() -> None:
    # All lean to (0, 0, 1); without that, they are those of the test above.
    lean = [[0.8, 0, 0.6], [-0.8, 0, 0.6], [0, 0.8, 0.6], [0, -0.8, 0.6]]
    scale = RelevanceScale(lean, np.empty((0, 3)))
    (evidence,) = scale.evidence([[0.8, 0, 0.6]], [1.0], WORDS, [[0.6, 0.8, 0.0]])
    assert evidence == pytest.approx(0.6 / math.sqrt(0.5))


def test_what_a_rich_query_scores_anyway_is_taken_off() -> None:
    # Words are .6 away from their centre, (0, 0, .8); the query sqrt(1 + .64). In units of .6 its
    # score is 1, and the words' .6, -.6, .8, -.8.
    lean = [[0.6, 0, 0.8], [-0.6, 0, 0.8], [0, 0.6, 0.8], [0, -0.6, 0.8]]
    scale = RelevanceScale(lean, np.empty((0, 3)))
    (evidence,) = scale.evidence([[1.0, 0.0, 0.0]], [1.0], WORDS, [[0.6, 0.8, 0.0]])
    richness = math.sqrt(1.64) / 0.6
    assert evidence == pytest.approx(1 / math.sqrt(0.5) - RICHNESS * math.log(richness))


def test_an_image_stands_out_before_the_one_at_twice_its_rank() -> None:
    # In any order. The first and the second are 2 and more before the second and the fourth; the
    # third and the fourth have only the fourth behind them.
    sums = [0.5, 5.0 + GAP_WEIGHT * 2, 1.0 + GAP_WEIGHT * 0.5, 3.0 + GAP_WEIGHT * LARGEST_GAP]
    expected = [1 / (1 + math.exp(-SLOPE * (value - CENTER))) for value in sums]
    np.testing.assert_allclose(relevance_of([0.5, 5.0, 1.0, 3.0]), expected, rtol=1e-12)


def test_two_images_that_stand_out_together_are_equally_relevant() -> None:
    best = CENTER + GAP_WEIGHT * LARGEST_GAP
    first, second, *_ = relevance_of([CENTER + 1e-9, CENTER, 0.0, 0.0, 0.0])
    assert second == pytest.approx(1 / (1 + math.exp(-SLOPE * (best - CENTER))))
    assert first == second


def test_the_best_of_very_many_images_needs_more() -> None:
    # 500 000 are a thousand times 500; up to 500 there is no difference.
    less = SIZE_WEIGHT * math.log(1000)
    assert relevance_of([CENTER + less], 500_000)[0] == pytest.approx(0.5)
    assert relevance_of([CENTER], 500)[0] == relevance_of([CENTER])[0] == 0.5


def test_relevance_is_a_share_whatever_the_evidence() -> None:
    assert relevance_of([CENTER])[0] == 0.5
    assert relevance_of([-1e9, 1e9]).tolist() == [0.0, 1.0]
    assert relevance_of([]).tolist() == []


@given(lists(floats(-20, 20), min_size=1, max_size=30))
def test_more_evidence_is_never_less_relevant(evidence: list[float]) -> None:
    order = np.argsort(evidence)
    ranked = relevance_of(evidence)[order]
    assert np.all(np.diff(ranked) >= 0)
    assert np.all((ranked >= 0) & (ranked <= 1))


def test_the_most_relevant_image_decides_the_verdict() -> None:
    assert verdict_of([0.0, DEFAULT_MIN_RELEVANCE, 0.1]) == "found"
    assert verdict_of([DEFAULT_MIN_RELEVANCE - 1e-9]) == "not sure"
    assert verdict_of([NOTHING_BELOW]) == "not sure"
    assert verdict_of([NOTHING_BELOW - 1e-9, 0.0]) == "probably nothing"
    assert verdict_of([]) == "probably nothing"


# Against a slow reference


def slow_evidence(
    query: Sequence[tuple[Rows, float, bool]], image: Rows, bank: Rows, sample: Rows
) -> float:
    """Return the evidence for what is added, less the loss for each subtracted part."""
    added = [part for part in query if part[1] > 0]
    score = slow_evidence_of_sum(added or query, image, bank, sample)
    for embedding, weight, is_image in query if added else ():
        if weight < 0:
            alone = slow_evidence_of_sum([(embedding, 1.0, is_image)], image, bank, sample)
            share = -weight / max(weight for _, weight, _ in added)
            score -= share * max(alone - 2, 0)
    return score


def slow_evidence_of_sum(
    query: Sequence[tuple[Rows, float, bool]], image: Rows, bank: Rows, sample: Rows
) -> float:
    """Return the evidence by loops over single vectors."""
    center = sum(bank) / len(bank)
    typical = math.sqrt(statistics.mean(norm(word - center) ** 2 for word in bank))
    words = [(word - center) / typical for word in bank]
    target = np.zeros(len(image))
    for embedding, weight, is_image in query:
        if is_image:
            fits = [float(unit(word) @ embedding) for word in words]
            powers = [math.exp(fit / statistics.pstdev(fits)) for fit in fits]
            mean = sum(power * unit(word) for power, word in zip(powers, words, strict=True))
            target = target + weight * unit(np.asarray(mean))
        else:
            target = target + weight * (embedding - center) / typical
    others = mixed(words, [weight for _, weight, _ in query])
    richness = norm(target) / math.sqrt(statistics.mean(norm(other) ** 2 for other in others))
    evidence = in_spreads(target, others, image)
    evidence -= RICHNESS * math.log(max(richness, LEAST_RICHNESS))
    seen = [(embedding, weight) for embedding, weight, is_image in query if is_image]
    if not seen:
        return evidence
    share = sum(abs(weight) for _, weight in seen) / sum(abs(weight) for _, weight, _ in query)
    trust = len(sample) / (len(sample) + SAMPLE_PRIOR)
    evidence += IMAGE_WEIGHT * share * trust * slow_evidence_of_images(seen, image, sample)
    if len(query) == 1:
        evidence += math.copysign(slow_evidence_of_a_copy(query[0][0], image, sample), query[0][1])
    return evidence - IMAGE_VAGUENESS * share


def slow_evidence_of_images(
    parts: Sequence[tuple[Rows, float]], image: Rows, sample: Rows
) -> float:
    """Return the evidence with the library's images as alternatives."""
    center = sum(sample) / len(sample)
    weights = [weight for _, weight in parts]
    target = unit(np.sum([weight * unit(row - center) for row, weight in parts], axis=0))
    others = [unit(row) for row in mixed([unit(row - center) for row in sample], weights)]
    likeness = [float(other @ target) for other in others]
    middle = statistics.median(likeness)
    spread = 1.4826 * statistics.median(abs(value - middle) for value in likeness)
    rest = [
        other
        for other, value in zip(others, likeness, strict=True)
        if value <= middle + SYNONYM_SPREADS * spread
    ]
    return in_spreads(target, rest, image)


def slow_evidence_of_a_copy(row: Rows, image: Rows, sample: Rows) -> float:
    """Return the evidence for nearly a copy, from the mean shrunk to what two images share."""
    center = np.mean(sample, axis=0)
    pairs = [float(a @ b) for a, b in itertools.combinations(sample, 2)]
    shrunk = center * max(statistics.mean(pairs), 0.0) / norm(center) ** 2
    cosine = float(unit(row - shrunk) @ unit(image - shrunk))
    return COPY_WEIGHT * max(cosine - COPY_COSINE, 0) / (1 - COPY_COSINE)


def norm(vector: Rows) -> float:
    """Return the Euclidean norm."""
    return math.sqrt(sum(x * x for x in vector))


def unit(vector: Rows) -> Rows:
    """Return a vector of norm 1."""
    return np.asarray(vector / norm(vector))


def mixed(others: Sequence[Rows], weights: Sequence[float]) -> list[Rows]:
    """Return the weighted sums of alternatives, those of each part shifted."""
    rows = []
    for number in range(len(others)):
        row = np.zeros(len(others[0]))
        for place, weight in enumerate(weights):
            shift = place * len(others) // len(weights)
            row = row + weight * others[(number + shift) % len(others)]
        rows.append(row)
    return rows


def in_spreads(target: Rows, others: Sequence[Rows], image: Rows) -> float:
    """Return the score of an image in deviations of its scores for the alternatives."""
    scores = [float(other @ image) for other in others]
    return (float(target @ image) - statistics.mean(scores)) / statistics.pstdev(scores)


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
    parts, images = random_rows(3, len(weights)), random_rows(4, 5, lean=-3.0)
    images[0] = parts[0]  # what fits well, also where it is subtracted
    images[1] = parts[-1]
    query = list(zip(parts, weights, is_image, strict=True))
    expected = [slow_evidence(query, image, bank, sample) for image in images]
    found = RelevanceScale(bank, sample).evidence(parts, weights, is_image, images)
    np.testing.assert_allclose(found, expected, rtol=1e-6)  # centred in single precision
    relevance = RelevanceScale(bank, sample).relevance(parts, weights, is_image, images)
    np.testing.assert_allclose(relevance, relevance_of(expected), rtol=1e-5)


# What it does not depend on


def test_another_scale_of_cosines_changes_nothing() -> None:
    # Another model: images hardly vary, and point where no word points.
    bank, hits = random_rows(1, 40), random_rows(2, 9)
    scale = RelevanceScale(np.pad(bank, ((0, 0), (0, 1))), np.empty((0, 13)))
    query = np.pad(random_rows(3, 1), ((0, 0), (0, 1)))
    plain = np.pad(hits, ((0, 0), (0, 1)))
    narrow = np.concatenate([0.1 * hits, np.full((9, 1), math.sqrt(0.99))], axis=1)
    np.testing.assert_allclose(
        scale.evidence(query, [1.0], WORDS, narrow),
        scale.evidence(query, [1.0], WORDS, plain),
        rtol=1e-9,
    )


def test_weights_count_only_beside_each_other() -> None:
    scale = RelevanceScale(random_rows(1, 40), random_rows(2, 30))
    parts, hits = random_rows(3, 2), random_rows(4, 6)
    for kinds in ([False, False], [True, False], [True, True]):
        np.testing.assert_allclose(
            scale.evidence(parts, [3.0, -6.0], kinds, hits),
            scale.evidence(parts, [1.0, -2.0], kinds, hits),
            rtol=1e-9,
        )


def test_words_do_not_depend_on_the_library() -> None:
    # A folder of cats only: "cat" fits as well as it would elsewhere.
    bank, query, hits = random_rows(1, 40), random_rows(2, 1), random_rows(3, 6)
    alone = RelevanceScale(bank, np.empty((0, 12))).evidence(query, [1.0], WORDS, hits)
    among = RelevanceScale(bank, hits[:1].repeat(50, axis=0))
    np.testing.assert_array_equal(among.evidence(query, [1.0], WORDS, hits), alone)


@pytest.mark.parametrize("num_copies", [1, 20])
def test_copies_of_the_query_in_the_library_do_not_hide_each_other(num_copies: int) -> None:
    bank, others = random_rows(1, 60, 64), random_rows(2, 40, 64)
    image = others[:1]
    scale = RelevanceScale(bank, np.concatenate([others, image.repeat(num_copies, axis=0)]))
    copy, *strangers = scale.relevance(image, [1.0], IMAGE, others)
    assert copy >= DEFAULT_MIN_RELEVANCE
    assert max(strangers) < DEFAULT_MIN_RELEVANCE


@pytest.mark.parametrize("num_images", [0, 1, 2, 5])
@pytest.mark.parametrize("kinds", [WORDS, IMAGE])
def test_tiny_libraries_have_relevances_too(num_images: int, kinds: list[bool]) -> None:
    images = random_rows(2, 5)
    scale = RelevanceScale(random_rows(1, 40), images[:num_images])
    relevance = scale.relevance(images[:1], [1.0], kinds, images)
    assert np.all((relevance >= 0) & (relevance <= 1))
    assert scale.relevance(images[:1], [1.0], kinds, np.empty((0, 12))).shape == (0,)


def test_a_library_of_one_image_says_nothing_about_itself() -> None:
    # Its centre is the image, so that only the words are left to compare with.
    bank, image = random_rows(1, 40), random_rows(2, 1)
    by_words = RelevanceScale(bank, np.empty((0, 12))).evidence(image, [1.0], IMAGE, image)
    found = RelevanceScale(bank, image).evidence(image, [1.0], IMAGE, image)
    np.testing.assert_allclose(found, by_words, rtol=1e-9)


# What is refused


def test_shapes_must_fit() -> None:
    bank, sample = random_rows(1, 8), random_rows(2, 3)
    with pytest.raises(InputError, match=r"the bank must have shape \(B, D\) .* got \(1, 12\)"):
        RelevanceScale(bank[:1], sample)
    with pytest.raises(InputError, match=r"got \(8, 12\) and \(3, 11\)"):
        RelevanceScale(bank, sample[:, 1:])
    scale = RelevanceScale(bank, sample)
    with pytest.raises(InputError, match=r"parts of shape \(2, 12\).* got \(1, 12\) and 1 kinds"):
        scale.relevance(sample[:1], [1.0, 1.0], [False], sample)
    with pytest.raises(InputError, match="at least one part"):
        scale.relevance(np.empty((0, 12)), [], [], sample)
    with pytest.raises(
        InputError, match=r"candidates must have shape \(K, 12\) or .* got \(3, 11\)"
    ):
        scale.relevance(sample[:1], [1.0], WORDS, sample[:, 1:])
    with pytest.raises(InputError, match=r"or \(K, R, 12\), got \(1, 1, 3, 12\)"):
        scale.relevance(sample[:1], [1.0], WORDS, sample[None, None])


# Images with several rows


@pytest.mark.parametrize("is_image", [WORDS, IMAGE])
@pytest.mark.parametrize("weight", [1.0, -1.0])
def test_an_image_of_equal_rows_counts_as_one_of_one_row(
    weight: float, is_image: Sequence[bool]
) -> None:
    bank, sample, query = random_rows(1, 30), random_rows(2, 20, lean=2), random_rows(3, 1)
    scale = RelevanceScale(bank, sample)
    expected = scale.evidence(query, [weight], is_image, sample)
    repeated = np.repeat(sample[:, None], 5, axis=1)
    found = scale.evidence(query, [weight], is_image, repeated)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_evidence_of_several_rows_by_hand() -> None:
    # The rows (.6, .8) and (1, 0) score at best 1 for the query, and 1, -.6, .8, 0 for the words:
    # mean .3, deviation sqrt(.5 - .09). No richness: the query is as far from the centre as they.
    scale = RelevanceScale([[1, 0], [-1, 0], [0, 1], [0, -1]], np.empty((0, 2)))
    (evidence,) = scale.evidence([[1.0, 0.0]], [1.0], WORDS, [[[0.6, 0.8], [1.0, 0.0]]])
    assert evidence == pytest.approx((1 - 0.3) / math.sqrt(0.5 - 0.09))


# The embedded model, on real images


@pytest.fixture(scope="module")
def bank(starter: Encoder) -> NDArray[np.float32]:
    return starter.encode_texts(list(BACKGROUND_NAMES))


@pytest.mark.slow
@pytest.mark.parametrize("change", ["saved anew", "mirrored", "cropped"])
def test_the_photograph_itself_comes_first_whatever_words_say(
    starter: Encoder, samples: list[Path], bank: NDArray[np.float32], change: str
) -> None:
    images = starter.encode_images(samples)
    scale, places = RelevanceScale(bank, images), range(0, len(samples), 5)
    first = 0
    for place in places:
        with Image.open(samples[place]) as opened:
            image = opened.convert("RGB")
        if change == "mirrored":
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        elif change == "cropped":
            edge = image.width // 20
            image = image.crop((edge, edge, image.width - edge, image.height - edge))
        else:
            file = io.BytesIO()
            image.save(file, "JPEG", quality=50)
            image = Image.open(file)
        evidence = scale.evidence(starter.encode_images([image]), [1.0], IMAGE, images)
        first += evidence.argmax() == place
    assert first == len(places)


@pytest.mark.slow
def test_words_without_an_image_mostly_find_nothing(
    starter: Encoder, samples: list[Path], bank: NDArray[np.float32]
) -> None:
    images = starter.encode_images(samples)
    scale = RelevanceScale(bank, images)
    absent = ["banana", "pizza", "helicopter", "piano", "snake", "laptop", "umbrella", "bus"]
    there = ["cat", "panda", "polar bear", "crab", "castle", "cup of coffee", "coral reef", "drums"]

    def finds(words: str) -> bool:
        found = scale.relevance(starter.encode_texts([words]), [1.0], WORDS, images)
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
    scale = RelevanceScale(bank, sample)
    copied, *different = scale.relevance(original[None], [1.0], IMAGE, np.stack([copy, *rest]))
    assert copied >= DEFAULT_MIN_RELEVANCE
    assert np.mean(np.array(different) >= DEFAULT_MIN_RELEVANCE) < 0.05
