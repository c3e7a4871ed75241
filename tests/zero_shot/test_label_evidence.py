"""Whether images show any of the labels: a slow reference, and the embedded model."""

import math
from pathlib import Path

import numpy as np
import pytest

import clipkit
from clipkit.background_words import BACKGROUND_NAMES
from clipkit.embeddings import normalize_rows
from clipkit.errors import InputError
from clipkit.runtime.base import Scoring
from clipkit.word_evidence import LEAST_RICHNESS, RICHNESS, WordScale
from clipkit.zero_shot.classifier import ZeroShotClassifier
from clipkit.zero_shot.label_evidence import KNOWN_CENTER, KNOWN_SLOPE, LabelEvidence
from clipkit.zero_shot.probabilities import label_log_losses
from tests.fakes import FakeEncoder


def slow_log_odds(image: np.ndarray, labels: np.ndarray, words: np.ndarray) -> float:
    """Return what known_log_odds says of one image, label by label and word by word."""
    center = sum(words) / len(words)
    norm = math.sqrt(sum(float((w - center) @ (w - center)) for w in words) / len(words))
    cosines = [float(image @ (w - center)) / norm for w in words]
    mean = sum(cosines) / len(words)
    spread = math.sqrt(sum((at - mean) ** 2 for at in cosines) / len(words))

    def logit(text: np.ndarray) -> float:
        seen = (text - center) / norm
        richness = RICHNESS * math.log(max(float(np.linalg.norm(seen)), LEAST_RICHNESS))
        return 2 * ((float(image @ seen) - mean) / spread - richness)

    def closeness(word: np.ndarray) -> float:
        angles = [
            float((word - center) @ (t - center))
            / math.sqrt(float((word - center) @ (word - center)))
            / math.sqrt(float((t - center) @ (t - center)))
            for t in labels
        ]
        return max(angles)

    others = [word for word in words if closeness(word) <= 0.6]
    assert len(words) / 2 < len(others) < len(words)
    of_labels = [logit(text) for text in labels]
    against = math.log(sum(map(math.exp, of_labels)) / sum(math.exp(logit(w)) for w in others))
    return max(of_labels) - 2 * 3.5 + against


def test_known_log_odds_are_those_of_a_slow_reference() -> None:
    rng = np.random.default_rng(0)
    words = normalize_rows(rng.normal(size=(30, 6)) + 1)
    labels = normalize_rows(np.vstack([rng.normal(size=(2, 6)) + 1, words[:1]]))  # one is a word
    images = normalize_rows(rng.normal(size=(5, 6)) + 0.5)
    evidence = LabelEvidence(WordScale(words), labels)
    found = evidence.known_log_odds(images)
    texts, bank = labels.astype(np.float64), words.astype(np.float64)
    slow = [slow_log_odds(image.astype(np.float64), texts, bank) for image in images]
    assert found == pytest.approx(slow, rel=1e-4, abs=1e-4)
    odds = KNOWN_SLOPE * (np.array(slow) - KNOWN_CENTER)
    assert evidence.known(images) == pytest.approx(1 / (1 + np.exp(-odds)), rel=1e-3)


def test_labels_that_are_all_words_leave_some_words() -> None:
    words = normalize_rows(np.random.default_rng(1).normal(size=(20, 6)))
    assert np.isfinite(LabelEvidence(WordScale(words), words).known_log_odds(words)).all()


def test_the_scores_and_none_of_these_sum_to_one() -> None:
    fake = FakeEncoder()
    own = ZeroShotClassifier(fake, ["red", "green"], templates="{}")
    open_set = own.with_unknown()
    images = normalize_rows(np.random.default_rng(2).normal(size=(6, 4)))
    known = LabelEvidence(
        WordScale(fake.encode_prompts([[name] for name in BACKGROUND_NAMES])), own.class_embeddings
    ).known(images)
    assert open_set.scores(images) == pytest.approx(own.scores(images) * known[:, None], rel=1e-4)
    for row, share in zip(open_set.rank(images), known, strict=True):
        assert {item["label"] for item in row} == {"red", "green", "none of these"}
        assert sum(item["score"] for item in row) == pytest.approx(1, abs=1e-6)
        found = next(item["score"] for item in row if item["label"] == "none of these")
        assert found == pytest.approx(1 - share, abs=1e-5)
    assert [len(row) for row in open_set.rank(images, k=2)] == [2] * 6
    assert [len(row) for row in own.rank(images)] == [2] * 6  # it stays as it was


def test_none_of_these_is_refused_where_it_means_nothing() -> None:
    fake = FakeEncoder()
    with pytest.raises(InputError, match="scored on their own"):
        ZeroShotClassifier(fake, ["red"], templates="{}", multi_label=True).with_unknown()
    with pytest.raises(InputError, match="leave that label out"):
        ZeroShotClassifier(fake, ["red", "none of these"], templates="{}").with_unknown()


def test_photographs_of_none_of_the_labels_are_told(
    starter: clipkit.Encoder, samples: list[Path]
) -> None:
    paths = {path.stem: path for path in samples}
    classifier = ZeroShotClassifier(starter, ["cat", "owl", "dog"]).with_unknown()
    shown = [paths[name] for name in ("cat", "owl", "dog", "castle", "rocket", "scissors")]
    first = [labels[0]["label"] for labels in classifier.classify(shown)]
    assert first == ["cat", "owl", "dog", *["none of these"] * 3]


def test_log_losses_are_of_softmax_or_sigmoid_and_never_overflow() -> None:
    cosines = np.array([[1.0, -1.0, 0.0]])
    softmax = label_log_losses(cosines, Scoring(math.log(2.0)))[0]
    total = math.exp(2) + math.exp(-2) + 1
    expected = [math.log(total) - 2, math.log(total) + 2, math.log(total)]
    assert softmax == pytest.approx(expected)
    sigmoid = label_log_losses(cosines, Scoring(math.log(2.0), 1.0))[0]
    assert sigmoid == pytest.approx([math.log(1 + math.exp(-x)) for x in (3, -1, 1)])
    large = label_log_losses(cosines, Scoring(math.log(1e4)))[0]
    assert large == pytest.approx([0, 2e4, 1e4])
    assert label_log_losses(cosines, Scoring(math.log(1e4), 0.0))[0, 1] == pytest.approx(1e4)
