"""Scores by hand arithmetic on chosen directions, and against a slow reference."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipkit.curation.scoring import clip_scores, ref_clip_scores, score_pairs
from clipkit.data.pair import Pair
from clipkit.embeddings import EmbeddingArray, normalize_rows
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.text_embedding import UnknownTextWarning
from clipkit.errors import ImageReadError, InputError, SpaceMismatchError
from tests.fake_pairs import ListSource, colored_pairs
from tests.fakes import FakeEncoder, word_embedding

IMAGES = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0]], dtype=np.float32)
CAPTIONS = np.array([[0.6, 0.8, 0], [-0.6, 0, 0.8], [0, 1, 0], [1, 0, 0]], dtype=np.float32)


def test_clip_score_by_hand() -> None:
    # 2.5 * .6, 2.5 * max(-.6, 0), 2.5 * 1, 2.5 * 0
    np.testing.assert_allclose(clip_scores(IMAGES, CAPTIONS), [1.5, 0, 2.5, 0], atol=1e-6)


def test_ref_clip_score_by_hand() -> None:
    scores = [1.5, 0.0, 2.5, 0.0]
    references = np.array(
        [[1, 0, 0], [0, 1, 0], [-0.6, 0, 0.8], [0, -1, 0], [0, 1, 0]], dtype=np.float32
    )
    means = ref_clip_scores(scores, CAPTIONS, references, [0, 0, 1, 2, 3])
    # Caption 0: cosines .6 and .8, the best: 2 * 1.5 * .8 / 2.3. Caption 1: the reference is the
    # same, but its score is 0. Caption 2: the cosine -1 counts as 0. Caption 3: both are 0.
    np.testing.assert_allclose(means, [2.4 / 2.3, 0, 0, 0], atol=1e-6)


def test_the_best_possible_score() -> None:
    # 2 * 2.5 * 1 / 3.5
    means = ref_clip_scores([2.5], CAPTIONS[2:3], CAPTIONS[2:3], [0])
    np.testing.assert_allclose(means, [10 / 7], atol=1e-6)


def test_a_caption_without_references_has_no_such_score() -> None:
    means = ref_clip_scores([2.5, 2.5], CAPTIONS[2:], CAPTIONS[2:3], [0])
    assert np.isnan(means).tolist() == [False, True]


def test_agrees_with_a_slow_reference() -> None:
    rng = np.random.default_rng(3)
    images, captions = normalize_rows(rng.normal(size=(2 * 40, 5))).reshape(2, 40, 5)
    owners = rng.integers(0, 40, 90)
    references = normalize_rows(rng.normal(size=(90, 5)))
    scores = clip_scores(images, captions)
    means = ref_clip_scores(scores, captions, references, owners)
    for number in range(40):
        fit = 2.5 * max(math.fsum(images[number] * captions[number]), 0)
        assert scores[number] == pytest.approx(fit, abs=1e-6)
        cosines = [
            max(math.fsum(captions[number] * reference), 0)
            for reference, owner in zip(references, owners, strict=True)
            if owner == number
        ]
        if not cosines:
            assert math.isnan(means[number])
        elif fit == 0 or max(cosines) == 0:
            assert means[number] == 0
        else:
            harmonic = 2 / (1 / fit + 1 / max(cosines))
            assert means[number] == pytest.approx(harmonic, abs=1e-5)


def test_shapes_must_fit() -> None:
    with pytest.raises(InputError, match=r"got \(4, 3\) and \(3, 3\)"):
        clip_scores(IMAGES, CAPTIONS[:3])


@pytest.fixture
def source(tmp_path: Path) -> ListSource:
    pairs = colored_pairs(
        tmp_path, {"red 1": ("red", "green"), "green": ("green",), "blue": ("sky", "ice")}
    )
    (tmp_path / "bad.png").write_bytes(b"no image")
    bad = Pair(tmp_path / "bad.png", ("red",), "bad.png")
    return ListSource([pairs[0], bad, *pairs[1:], ImageReadError("gone.png", "no such file")])


def test_every_caption_of_every_pair_is_scored_behind_the_prompt(source: ListSource) -> None:
    encoder = FakeEncoder()
    batches = list(score_pairs(encoder, source))
    scores = [score for batch in batches for score in batch.scores]
    assert [(score.row, Path(score.name).name, score.caption) for score in scores] == [
        (0, "red 1.png", "red"),
        (0, "red 1.png", "green"),
        (2, "green.png", "green"),
        (3, "blue.png", "sky"),
        (3, "blue.png", "ice"),
    ]
    for score, axis in zip(scores, (0, 0, 1, 2, 2), strict=True):
        # An image of one colour lies at (255, 1) on its own axis and the constant one.
        text = word_embedding("A photo depicts " + score.caption)[0]
        cosine = (255 * text[axis] + text[3]) / math.sqrt(255**2 + 1)
        assert score.clip_score == pytest.approx(2.5 * max(cosine, 0), abs=1e-5)
        assert score.ref_clip_score is None
    skipped = [Path(error.path).name for batch in batches for error in batch.skipped]
    assert sorted(skipped) == ["bad.png", "gone.png"]


def test_references_are_found_by_name_or_stem(source: ListSource) -> None:
    # Names of files here; the path, as it is told, goes before.
    references = {"red 1.png": ["green"], "green": ["red", "green"], "blue.png": []}
    scores = [
        score
        for batch in score_pairs(FakeEncoder(), source, references=references)
        for score in batch.scores
    ]
    for score in scores:
        texts = {"red 1.png": ["green"], "green.png": ["red", "green"]}.get(Path(score.name).name)
        if texts is None:
            assert score.ref_clip_score is None
            continue
        prompt = "A photo depicts "
        caption = word_embedding(prompt + score.caption)[0]
        best = max(max(float(caption @ word_embedding(prompt + text)[0]), 0) for text in texts)
        fit = score.clip_score
        expected = 0 if 0 in (fit, best) else 2 * fit * best / (fit + best)
        assert score.ref_clip_score == pytest.approx(expected, abs=1e-5)
    # "green" is its own reference: a cosine of 1.
    green = next(score for score in scores if score.name.endswith("green.png"))
    assert green.ref_clip_score == pytest.approx(2 * green.clip_score / (green.clip_score + 1))


def test_the_path_goes_before_the_name_and_the_name_before_the_stem(tmp_path: Path) -> None:
    (pair,) = colored_pairs(tmp_path, {"green": ("ice",)})
    answers = {str(pair.image): ["sky"], "green.png": ["sea"], "green": ["ice"]}
    for key in list(answers):
        (batch,) = score_pairs(FakeEncoder(), ListSource([pair]), references=answers)
        (score,) = batch.scores
        prompt = "A photo depicts "
        reference = word_embedding(prompt + answers[key][0])[0]
        best = max(float(word_embedding(prompt + "ice")[0] @ reference), 0)
        expected = 2 * score.clip_score * best / (score.clip_score + best)
        assert score.ref_clip_score == pytest.approx(expected, abs=1e-5)
        del answers[key]


@pytest.mark.parametrize(
    "score",
    [clip_scores, lambda first, second: ref_clip_scores([1.0, 1.0], first, second, [0, 1])],
    ids=["clip_scores", "ref_clip_scores"],
)
def test_scores_are_of_embeddings_in_one_space(score: Callable[..., Any]) -> None:
    rows = np.eye(2, dtype=np.float32)
    score(EmbeddingArray(rows, "a"), rows)
    with pytest.raises(SpaceMismatchError, match="two spaces, a and b"):
        score(EmbeddingArray(rows, "a"), EmbeddingArray(rows, "b"))
    with pytest.raises(InputError, match="text_embeddings must have rows of norm 1, got norm 3"):
        score(*(rows, 3 * rows) if score is clip_scores else (3 * rows, rows))


def test_every_caption_needs_a_score() -> None:
    rows = np.eye(2, dtype=np.float32)
    with pytest.raises(InputError, match="each of 2 captions needs a score"):
        ref_clip_scores([1.0], rows, rows, [0, 1])


def test_captions_of_unknown_words_are_warned_of(starter: Encoder) -> None:
    source = ListSource([Pair(Image.new("RGB", (8, 8)), ("猫", "a cat"), "red")])
    with pytest.warns(UnknownTextWarning, match="these captions .*: '猫'; use"):
        list(score_pairs(starter, source))
