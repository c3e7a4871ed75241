"""Scores and rankings by hand, on an encoder with known directions; then the embedded model."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipkit.background_names import BACKGROUND_NAMES
from clipkit.embeddings import Embeddings, normalize_rows
from clipkit.encoder import Encoder
from clipkit.errors import InputError, PromptError
from clipkit.progress import Progress
from clipkit.runtime.base import Scoring
from clipkit.zero_shot.classifier import ZeroShotClassifier, classify_each, embed_classes

DIRECTIONS = {
    "cat": (1.0, 0.0, 0.0),
    "dog": (0.0, 1.0, 0.0),
    "a photo of a cat": (0.8, 0.0, 0.6),
    "a photo of a dog": (0.0, 0.8, 0.6),
}
ELSEWHERE = (0.0, 0.0, 1.0)  # every other text


class DirectionEncoder:
    """Texts have the directions above; a "picture" is its own direction."""

    embed_dim = 3

    def __init__(self, scale: float = 10.0, bias: float | None = None, space_id: str = "x") -> None:
        self.scoring = Scoring(math.log(scale), bias)
        self.space_id = space_id
        self.texts: list[str] = []

    def encode_texts(self, texts: Sequence[str], *, progress: Progress | None = None) -> Embeddings:
        self.texts += texts
        if progress:
            progress(len(texts), len(texts))
        rows = [DIRECTIONS.get(text, ELSEWHERE) for text in texts]
        return np.array(rows, dtype=np.float32).reshape(-1, 3)

    def encode_images(self, images: Iterable[Any], **_: object) -> Embeddings:
        return normalize_rows(np.array(list(images), dtype=np.float32).reshape(-1, 3))


@pytest.fixture(autouse=True)
def forget_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test starts without remembered classes."""
    from collections import OrderedDict

    monkeypatch.setattr("clipkit.zero_shot.classifier._cache", OrderedDict())


def make(names: Sequence[str], encoder: DirectionEncoder | None = None, **options: object) -> Any:
    """Return a classifier; typed loosely, because its pictures here are directions."""
    options.setdefault("templates", "{}")
    return ZeroShotClassifier(encoder or DirectionEncoder(), names, **options)  # type: ignore[arg-type]


def test_softmax_by_hand() -> None:
    # cosines .8 and .6, scale 10: odds e^8 to e^6, so 1 / (1 + e^-2)
    scores = make(["cat", "dog"]).scores(np.array([[0.8, 0.6, 0.0]], dtype=np.float32))
    likely = 1 / (1 + math.exp(-2))
    np.testing.assert_allclose(scores, [[likely, 1 - likely]], atol=1e-6)


def test_softmax_survives_large_logits() -> None:
    classifier = make(["cat", "dog"], DirectionEncoder(scale=1e6))
    np.testing.assert_allclose(classifier.scores(np.eye(3, dtype=np.float32)[:2]), np.eye(2))


def test_sigmoid_checkpoints_score_each_label_alone() -> None:
    # logits 10 * .8 - 7 = 1 and 10 * .6 - 7 = -1
    classifier = make(["cat", "dog"], DirectionEncoder(bias=-7.0))
    scores = classifier.scores(np.array([[0.8, 0.6, 0.0]], dtype=np.float32))
    np.testing.assert_allclose(scores, [[1 / (1 + math.exp(-1)), 1 / (1 + math.e)]], atol=1e-6)
    assert classifier.multi_label


def test_multi_label_weighs_each_label_against_the_background() -> None:
    # Background names point elsewhere, (0, 0, 1), apart from "cat" and "dog" themselves.
    picture = normalize_rows([[0.6, 0.0, 0.8]])
    scores = make(["cat", "piano thing"], multi_label=True).scores(picture)
    # "cat" is .6 against .8: sigmoid(10 * -.2); it is not its own rival. The other label points
    # elsewhere as the background does: those are its synonyms, so its rivals are cat (.6) and dog.
    expected = [[1 / (1 + math.exp(2)), 1 / (1 + math.exp(-2))]]
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert "cat" in BACKGROUND_NAMES
    assert "dog" in BACKGROUND_NAMES


def test_class_embeddings_are_the_normalised_mean_of_normalised_prompts() -> None:
    # cat: mean of (1, 0, 0) and (.8, 0, .6) = (.9, 0, .3), of norm sqrt(.9)
    classifier = make(["cat"], templates=["{}", "a photo of a {}"])
    expected = np.array([[0.9, 0.0, 0.3]]) / math.sqrt(0.9)
    np.testing.assert_allclose(classifier.class_embeddings, expected, atol=1e-6)


def test_results_print_as_users_of_pipelines_expect() -> None:
    ((best, other),) = make(["dog", "cat"]).classify([(1.0, 0.0, 0.0)])
    assert list(best) == ["score", "label"]
    assert best["label"] == "cat"
    assert other["label"] == "dog"
    assert isinstance(best["score"], float)
    assert best["score"] + other["score"] == pytest.approx(1.0)


def test_top_cuts_the_list() -> None:
    ranked = make(["cat", "dog", "bird"]).classify([(0.9, 0.3, 0.1), (0.0, 1.0, 0.0)], top=1)
    assert [[item["label"] for item in labels] for labels in ranked] == [["cat"], ["dog"]]
    with pytest.raises(InputError, match="k must be at least 1"):
        make(["cat"]).classify([(1.0, 0.0, 0.0)], top=0)


def test_one_label_has_all_the_probability() -> None:
    assert make(["cat"]).classify([(0.0, 1.0, 0.0)]) == [[{"score": 1.0, "label": "cat"}]]


def test_a_label_given_twice_counts_once() -> None:
    assert make(["cat", " cat ", "dog", "cat"]).class_names == ["cat", "dog"]


def test_ten_thousand_labels_are_ranked() -> None:
    names = ["dog", *(f"thing {number}" for number in range(9_998)), "cat"]
    encoder = DirectionEncoder(scale=100.0)
    ((best,),) = make(names, encoder).classify([(0.8, 0.6, 0.0)], top=1)
    assert best["label"] == "cat"
    assert len(encoder.texts) == 10_000


def test_no_pictures_give_no_results() -> None:
    assert make(["cat"]).classify([]) == []


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "at least one class name"),
        ("cat,dog", "must be a list of names"),
        (["cat", "  "], "class name 2 of 2 is empty"),
    ],
)
def test_wrong_class_names_raise(names: Sequence[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(names)


def test_a_wrong_template_raises() -> None:
    with pytest.raises(PromptError):
        make(["cat"], templates=["a photo"])


def test_classes_are_embedded_once_for_each_space_name_and_template() -> None:
    encoder = DirectionEncoder()
    make(["cat", "dog"], encoder)
    make(["dog", "cat"], encoder)
    assert encoder.texts == ["cat", "dog"]
    make(["cat"], encoder, templates="a photo of a {}")
    assert encoder.texts == ["cat", "dog", "a photo of a cat"]
    make(["cat"], encoder, domain="pet")
    assert encoder.texts[-1] == "cat, a type of pet"
    other = DirectionEncoder(space_id="y")
    make(["cat"], other)
    assert other.texts == ["cat"]


def test_progress_counts_the_prompts() -> None:
    calls: list[tuple[int, int | None]] = []
    make(["cat", "dog"], templates=["{}", "a {}"], progress=lambda *call: calls.append(call))
    assert calls == [(4, 4)]


def test_remembered_classes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipkit.zero_shot.classifier.CACHED_CLASSES", 3)
    encoder = DirectionEncoder()
    make(["a", "b", "c", "d"], encoder)
    from clipkit.zero_shot import classifier

    assert len(classifier._cache) == 3
    make(["d"], encoder)
    assert encoder.texts == ["a", "b", "c", "d"]


def test_each_picture_may_have_labels_of_its_own() -> None:
    encoder = DirectionEncoder()
    ranked = classify_each(
        encoder,  # type: ignore[arg-type]
        [(0.9, 0.1, 0.0), (0.9, 0.1, 0.0)],  # type: ignore[list-item]
        [["cat", "dog"], ["dog"]],
        templates="{}",
    )
    assert [[item["label"] for item in labels] for labels in ranked] == [["cat", "dog"], ["dog"]]
    assert sorted(encoder.texts) == ["cat", "dog"]


def test_lists_of_labels_must_fit_the_pictures() -> None:
    with pytest.raises(InputError, match="one list of labels a picture is needed, got 1 for 2"):
        classify_each(DirectionEncoder(), [b"", b""], [["cat"]])  # type: ignore[arg-type]


def test_embed_classes_of_nothing_is_refused_before() -> None:
    embeddings = embed_classes(DirectionEncoder(), ["cat"], templates=["{}"])  # type: ignore[arg-type]
    assert embeddings.tolist() == [[1.0, 0.0, 0.0]]


# The embedded model, on real pictures.


def test_starter_names_most_sample_pictures(
    starter: Encoder, samples: list[Path], sample_labels: dict[str, str]
) -> None:
    classifier = ZeroShotClassifier(starter, sorted(set(sample_labels.values())))
    ranked = classifier.classify(samples, top=1)
    right = sum(
        labels[0]["label"] == sample_labels[path.name]
        for path, labels in zip(samples, ranked, strict=True)
    )
    assert right >= 0.7 * len(samples), f"{right} of {len(samples)}"
