"""Heads as ONNX models: ONNX Runtime gives the probabilities that the head itself gives."""

import json

import numpy as np
import onnxruntime
import pytest

from clipkit.adaptation.classifiers import Classifier
from clipkit.adaptation.head import HeadClassifier
from tests.adaptation.test_head import ADAPTER, CACHE, LINEAR, NAMES, make_head
from tests.fakes import FakeEncoder

pytest.importorskip("onnx")

from clipkit.adaptation.head_onnx import head_to_onnx


@pytest.mark.parametrize("classifier", [LINEAR, CACHE, ADAPTER], ids=["linear", "cache", "adapter"])
def test_probabilities_are_those_of_the_head(classifier: Classifier) -> None:
    head = make_head(classifier)
    session = onnxruntime.InferenceSession(head_to_onnx(head))
    features = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    (found,) = session.run(None, {"features": 5 * features})  # of any norm
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = HeadClassifier(FakeEncoder(), head).scores(units)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_what_is_known_of_the_head_is_in_the_metadata() -> None:
    session = onnxruntime.InferenceSession(head_to_onnx(make_head()))
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["class_names"]) == list(NAMES)
    assert (about["method"], about["model"], about["space_id"]) == ("gda", "fake", "fake-space")
    assert [(put.name, put.shape) for put in session.get_inputs()] == [("features", ["batch", 4])]
