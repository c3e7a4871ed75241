"""The evidence of texts by hand, against a slow reference, and at its edges."""

import math
import statistics

import numpy as np
import pytest
from numpy.typing import NDArray

from clipkit.errors import InputError
from clipkit.search.relevance import RelevanceScale
from clipkit.word_evidence import LEAST_RICHNESS, RICHNESS, WordScale, in_spreads

Rows = NDArray[np.float64]


def random_rows(seed: int, count: int) -> Rows:
    rows = np.random.default_rng(seed).normal(size=(count, 8)) + 0.5
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def test_evidence_by_hand() -> None:
    # The words' mean is (0, 0, .8), from which they are .6 away. In units of .6 the image (.6, .8,
    # 0) scores .6, -.6, .8 and -.8 for them: mean 0, deviation sqrt(.5). For the first text, which
    # is a word, it scores .6; for the second, sqrt(1 + .64) / .6 away, .6 / .6.
    words = [[0.6, 0.0, 0.8], [-0.6, 0.0, 0.8], [0.0, 0.6, 0.8], [0.0, -0.6, 0.8]]
    evidence = WordScale(words).evidence([[0.6, 0.0, 0.8], [1.0, 0.0, 0.0]], [[0.6, 0.8, 0.0]])
    rich = 1 / math.sqrt(0.5) - RICHNESS * math.log(math.sqrt(1.64) / 0.6)
    np.testing.assert_allclose(evidence, [[0.6 / math.sqrt(0.5), rich]])


def test_evidence_against_a_slow_reference() -> None:
    words, texts, images = random_rows(1, 30), random_rows(2, 4), random_rows(3, 5)
    center = [statistics.fmean(column) for column in words.T.tolist()]

    def distance(text: Rows) -> float:
        return math.dist(text.tolist(), center)

    def product(image: Rows, text: Rows) -> float:
        return float(sum(a * b for a, b in zip(image, text, strict=True)))

    usual = math.sqrt(statistics.fmean(distance(word) ** 2 for word in words))
    for image, row in zip(images, WordScale(words).evidence(texts, images), strict=True):
        scores = [product(image, word) for word in words]
        for text, evidence in zip(texts, row, strict=True):
            expected = (product(image, text) - statistics.fmean(scores)) / statistics.pstdev(scores)
            expected -= RICHNESS * math.log(max(distance(text) / usual, LEAST_RICHNESS))
            assert evidence == pytest.approx(expected)


def test_a_search_for_a_text_stands_on_the_same_evidence() -> None:
    words, texts, images = random_rows(4, 30), random_rows(5, 3), random_rows(6, 7)
    evidence = WordScale(words).evidence(texts, images)
    library = RelevanceScale(words, images)
    for text, column in zip(texts, evidence.T, strict=True):
        found = library.evidence(text[None], [1.0], [False], images)
        np.testing.assert_allclose(found, column, rtol=1e-12)


def test_what_says_next_to_nothing_gains_no_more() -> None:
    words = np.eye(8)
    middle = np.full((1, 8), math.sqrt(1 / 8))  # its direction is that of the words' mean
    (evidence,) = WordScale(words).evidence(middle, words[:1])
    # On that image the words score 1 and seven times 0; the text sqrt(1 / 8). Its distance from
    # the mean is sqrt(8) * (sqrt(1 / 8) - 1 / 8) = .646, the words' sqrt(7 / 8) = .935: .691.
    expected = (math.sqrt(1 / 8) - 1 / 8) / math.sqrt(7 / 64) - RICHNESS * math.log(LEAST_RICHNESS)
    assert evidence == pytest.approx(expected)


def test_alternatives_that_are_all_alike_say_nothing() -> None:
    assert in_spreads(np.ones((2, 3)), np.full((2, 4), 0.5)).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_no_texts_and_no_images() -> None:
    scale = WordScale(np.eye(3))
    assert scale.evidence(np.empty((0, 3)), np.eye(3)).shape == (3, 0)
    assert scale.evidence(np.eye(3), np.empty((0, 3))).shape == (0, 3)


@pytest.mark.parametrize("words", [[[1.0, 0.0]], [1.0, 0.0], np.empty((0, 2))])
def test_fewer_than_two_words_are_refused(words: object) -> None:
    with pytest.raises(InputError, match="two words or more"):
        WordScale(words)  # type: ignore[arg-type]
