"""Heads are written, read and used; damaged files and other models' are refused."""

import json
import re
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save

from clipkit.adaptation.classifiers import (
    AdapterClassifier,
    CacheClassifier,
    Classifier,
    LinearClassifier,
)
from clipkit.adaptation.head import HEAD_FILE, Head, HeadClassifier
from clipkit.embeddings import EmbeddingArray
from clipkit.errors import InputError, SpaceMismatchError
from tests.fakes import FakeEncoder

NAMES = ("rouge", "vert ü")
LINEAR = LinearClassifier(np.array([[9.0, 0, 0, 0], [0, 9.0, 0, 0]]), np.array([0.5, 0.0]))
CACHE = CacheClassifier(
    np.array([[2.0, 0, 0, 0], [0, 2.0, 0, 0]]),
    np.eye(4)[[0, 1, 1]],
    np.array([0, 1, 1]),
    alpha=3.0,
    beta=4.0,
)
ADAPTER = AdapterClassifier(np.eye(4)[:2] * 3, np.eye(4)[[1, 0, 2, 3]] * 0.5)
IMAGES = [
    Image.new("RGB", (8, 8), color) for color in ((250, 10, 10), (10, 250, 10), (200, 190, 5))
]


def make_head(classifier: Classifier = LINEAR) -> Head:
    return Head("gda", "fake", "fake-space", NAMES, classifier, {"images": 3, "prompts": ["a {}"]})


@pytest.mark.parametrize("classifier", [LINEAR, CACHE, ADAPTER], ids=["linear", "cache", "adapter"])
def test_a_head_is_the_same_after_a_file(classifier: Classifier, tmp_path: Path) -> None:
    head = make_head(classifier)
    head.save(tmp_path / "head.safetensors")
    again = Head.load(tmp_path / "head.safetensors")
    assert (again.method, again.model, again.space_id) == ("gda", "fake", "fake-space")
    assert again.class_names == NAMES
    assert again.details == {"images": 3, "prompts": ["a {}"]}
    rows = np.eye(4, dtype=np.float32)
    np.testing.assert_array_equal(again.classifier.logits(rows), classifier.logits(rows))


def test_a_head_opens_with_safetensors_alone(tmp_path: Path) -> None:
    make_head().save(tmp_path / "head.safetensors")
    with safe_open(tmp_path / "head.safetensors", "numpy") as file:
        assert sorted(file.keys()) == ["bias", "weights"]
        assert json.loads(file.metadata()["clipkit_head"])["class_names"] == list(NAMES)
        np.testing.assert_array_equal(file.get_tensor("weights"), LINEAR.weights)


def test_probabilities_are_the_softmax_of_the_logits() -> None:
    classifier = HeadClassifier(FakeEncoder(), make_head())
    rows = np.array([[0.6, 0.8, 0, 0]], dtype=np.float32)
    exps = np.exp([9 * 0.6 + 0.5, 9 * 0.8])
    np.testing.assert_allclose(classifier.scores(rows)[0], exps / exps.sum(), rtol=1e-5)


def test_images_are_ranked_and_streamed() -> None:
    classifier = HeadClassifier(FakeEncoder(), make_head())
    ranked = classifier.classify(IMAGES, k=1)
    assert [labels[0]["label"] for labels in ranked] == ["rouge", "vert ü", "rouge"]
    (batch,) = classifier.stream(IMAGES[:2])
    assert [len(labels) for labels in batch.labels] == [2, 2]
    assert sum(item["score"] for item in batch.labels[0]) == pytest.approx(1)


def test_another_model_is_refused() -> None:
    encoder = FakeEncoder(space_id="other", name="other-model")
    with pytest.raises(SpaceMismatchError, match=r"fitted on embeddings of fake .*other-model"):
        HeadClassifier(encoder, make_head())
    with pytest.raises(SpaceMismatchError, match="fake has other weights or settings now"):
        HeadClassifier(FakeEncoder(space_id="other"), make_head())
    with pytest.raises(InputError, match="must be an Encoder"):
        HeadClassifier("starter", make_head())  # type: ignore[arg-type]
    rows = EmbeddingArray(np.eye(4, dtype=np.float32), "third")
    with pytest.raises(SpaceMismatchError, match="third"):
        HeadClassifier(FakeEncoder(), make_head()).scores(rows)
    with pytest.raises(InputError, match=r"shape \(M, 4\)"):
        HeadClassifier(FakeEncoder(), make_head()).scores(np.eye(3, dtype=np.float32))


def test_what_is_no_head_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        Head.load(tmp_path / "missing")
    for name, content in {
        "empty": b"",
        "text": b"labels: cat, dog",
        "weights": save({"weights": np.zeros(2)}),
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name} is no head"):
            Head.load(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"class_names": ["one"]}, "it has 1 classes and weights of shape (2, 4)"),
        ({"class_names": [1, 2]}, "its class names are no list of texts"),
        ({"class_names": []}, "its class names are no list of texts"),
        ({"class_names": None}, 'its "class_names" is None'),
        ({"model": 3}, 'its "model" is 3'),
        ({"details": None}, 'its "details" is None'),
        ({"settings": {}}, "it has no 'alpha'"),
        ({"settings": {"alpha": float("nan"), "beta": 1.0}}, "do not fit together"),
        ({"labels": np.array([0, 1, 2])}, "do not fit together"),
        ({"labels": np.array([0.0, 1.0, 1.0])}, "do not fit together"),
        ({"keys": np.eye(4, dtype=np.float32)[:2]}, "do not fit together"),
        ({"weights": np.full((2, 4), np.nan, dtype=np.float32)}, "numbers that are not finite"),
    ],
)
def test_parts_that_do_not_fit_are_named(change: dict[str, Any], why: str, tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    make_head(CACHE).save(path)
    about, tensors = HEAD_FILE.read(path, lambda *parts: map(dict, parts))
    for name, value in change.items():
        (tensors if isinstance(value, np.ndarray) else about)[name] = value
    path.write_bytes(HEAD_FILE.to_bytes(about, tensors))
    with pytest.raises(InputError, match=f"is a damaged head: .*{re.escape(why)}"):
        Head.load(path)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_file_with_any_changed_bytes_is_the_same_head_or_is_refused(data: st.DataObject) -> None:
    content = bytearray(make_head(CACHE).to_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    with NamedTemporaryFile() as file:
        file.write(bytes(content[:cut]) if data.draw(st.booleans()) else bytes(content))
        file.flush()
        with suppress(InputError):  # no byte matters to what it says, or it is refused
            assert Head.load(file.name).to_bytes() == make_head(CACHE).to_bytes()
