"""Labels that are embeddings already, beside labels of words."""

import warnings
from typing import Any

import numpy as np
import pytest

from clipkit.embeddings import EmbeddingArray
from clipkit.errors import InputError, SpaceMismatchError
from clipkit.zero_shot.classifier import ZeroShotClassifier
from clipkit.zero_shot.labels import label_prompts
from tests.zero_shot.test_classifier import DirectionEncoder

CAT, DOG = np.eye(3, dtype=np.float32)[:2]
REX = np.array([0.0, 0.6, 0.8], np.float32)


def make(labels: dict[str, Any], encoder: DirectionEncoder | None = None, **options: Any) -> Any:
    return ZeroShotClassifier(encoder or DirectionEncoder(), labels, **options)  # type: ignore[arg-type]


def test_an_embedding_is_used_as_it_is_beside_words() -> None:
    encoder = DirectionEncoder(scale=10.0)
    classifier = make({" Rex ": REX, "cat": "cat", "dog": None}, encoder, templates="{}")
    assert encoder.texts == ["cat", "dog"]
    assert classifier.class_names == ["Rex", "cat", "dog"]
    np.testing.assert_allclose(classifier.class_embeddings, [REX, CAT, DOG], atol=1e-6)
    assert classifier.class_embeddings.space_id == "x"
    image = np.array([[0.0, 0.8, 0.6]], np.float32)
    logits = 10 * np.array([0.96, 0.0, 0.8])
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(classifier.scores(image)[0], expected, atol=1e-6)
    assert classifier.rank(image, k=1)[0][0]["label"] == "Rex"


def test_all_labels_may_be_embeddings() -> None:
    encoder = DirectionEncoder()
    classifier = make({"Rex": REX, "Bella": CAT[None]}, encoder, templates="photo")
    assert encoder.texts == []
    np.testing.assert_allclose(classifier.class_embeddings, [REX, CAT])


def test_none_means_the_templates() -> None:
    encoder = DirectionEncoder()
    make({"Rex": REX, "cat": None, "dog": "a photo of a dog"}, encoder, templates="a big {}")
    assert encoder.texts == ["a big cat", "a photo of a dog"]
    assert label_prompts({"cat": None}, "a {}", "pet") == label_prompts(["cat"], "a {}", "pet")
    assert label_prompts({"Rex": REX, "cat": None}, {"cat": "a cat"}, None) == [(), ("a cat",)]


def test_templates_that_no_label_uses_are_refused() -> None:
    with pytest.raises(InputError, match="need no templates"):
        make({"Rex": REX, "dog": "a dog"}, templates="photo")


def test_a_concept_named_like_a_word_stays_apart_from_it_and_is_no_unknown_word() -> None:
    encoder = DirectionEncoder()
    encoder.unknown = ("rex",)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # neither unknown nor equal labels
        classifier = make({"Cat": REX, "cat": None, "Rex": DOG}, encoder, templates="{}")
    assert classifier.labels == ["Cat", "cat", "Rex"]


def test_parts_of_the_classes_keep_their_embeddings() -> None:
    part = make({"cat": None, "Rex": REX, "dog": None}, templates="{}").only(["dog", "Rex"])
    np.testing.assert_allclose(part.class_embeddings, [DOG, REX], atol=1e-6)


def test_a_calibration_is_of_this_embedding_and_no_other() -> None:
    encoder = DirectionEncoder()
    encoder.name = "fake"  # type: ignore[attr-defined]
    images = np.repeat(np.stack([REX, CAT]), 10, axis=0)
    labels = np.repeat([0, 1], 10)
    classifier = make({"Rex": REX, "cat": None}, encoder, templates="{}")
    calibration = classifier.calibrate(images, labels)
    again = make({"Rex": REX.copy(), "cat": None}, templates="{}").with_calibration(calibration)
    assert again.label_sets(images[:1])[0][0]["label"] == "Rex"
    other = make({"Rex": DOG, "cat": None}, templates="{}").with_calibration(calibration)
    with pytest.raises(InputError, match="the same prompts"):
        other.label_sets(images[:1])


def test_multi_label_and_unknown_work_with_embeddings() -> None:
    image = np.array([[0.0, 0.8, 0.6]], np.float32)
    for classifier in (
        make({"Rex": REX, "cat": None}, multi_label=True),
        make({"Rex": REX, "cat": None}).with_unknown(),
    ):
        assert np.isfinite(classifier.scores(image)).all()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (np.ones(3, np.float32), "the embedding of 'Rex' must have rows of norm 1"),
        (np.eye(3, dtype=np.float32), r"of 'Rex' must have shape \(3,\), got \(3, 3\)"),
        (np.full(3, np.nan, np.float32), "norm 1"),
    ],
)
def test_what_is_no_embedding_is_refused(row: np.ndarray, message: str) -> None:
    encoder = DirectionEncoder()
    with pytest.raises(InputError, match=message):
        make({"Rex": row, "cat": None}, encoder)
    assert encoder.texts == []


def test_an_embedding_of_another_size_or_space_is_refused() -> None:
    encoder = DirectionEncoder()
    encoder.name = "small"  # type: ignore[attr-defined]
    with pytest.raises(SpaceMismatchError, match="'Rex' is of space y, and the model is small"):
        make({"Rex": EmbeddingArray(REX, "y"), "cat": None}, encoder)
    with pytest.raises(InputError, match=r"must have shape \(3,\), got \(2,\)"):
        make({"Rex": np.array([0.6, 0.8], np.float32), "cat": None}, encoder)
    assert encoder.texts == []
