"""A head as an ONNX model: embeddings to probabilities, for programs without clipkit."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.adaptation.classifiers import AdapterClassifier, CacheClassifier
from clipkit.adaptation.head import Head
from clipkit.errors import MissingExtraError

_OPSET, _IR_VERSION = 17, 10
MARK = "clipkit adapt"  # the producer, by which a file is known again


def check_onnx() -> None:
    """Raise unless heads can be written as ONNX.

    Raises:
        MissingExtraError: If onnx is not installed.
    """
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("torch", "Writing a head as ONNX") from error


def head_to_onnx(head: Head) -> bytes:
    """Return a head as the content of an ONNX file.

    Args:
        head: The head.

    Returns:
        A model whose input "features" takes image features of any norm, shape (batch, D) in
        float32, as the image tower gives them, and whose output "probabilities" is (batch, C).
        Its metadata have the class names, the model and its space_id.

    Raises:
        MissingExtraError: If onnx is not installed.
    """
    check_onnx()
    from onnx import TensorProto, helper

    graph = _Graph()
    units = graph.normalized("features")
    logits = _logits(graph, head, units)
    graph.add("Softmax", [logits], "probabilities", axis=1)
    weights = head.classifier.weights
    sizes = {"features": weights.shape[1], "probabilities": len(weights)}
    given, found = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
        for name, size in sizes.items()
    )
    made = helper.make_graph(graph.nodes, "head", [given], [found], graph.constants)
    model = helper.make_model(
        made,
        producer_name=MARK,
        ir_version=_IR_VERSION,
        opset_imports=[helper.make_opsetid("", _OPSET)],
    )
    about = head.to_dict()
    texts = {name: about[name] for name in ("method", "model", "space_id")}
    parts = {name: json.dumps(about[name]) for name in ("class_names", "details")}
    helper.set_model_props(model, {**texts, **parts})
    content: bytes = model.SerializeToString()
    return content


class _Graph:
    """Nodes and constants of a graph, as they are added."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node; return the name of what it gives."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, name: str, values: NDArray[np.float64] | float) -> str:
        """Add a constant in float32; return its name."""
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def normalized(self, rows: str) -> str:
        """Add the division of rows by their norms."""
        norms = self.add("ReduceL2", [rows], f"{rows}_norms", axes=[1], keepdims=1)
        return self.add("Div", [rows, norms], f"{rows}_units")


def _logits(graph: _Graph, head: Head, units: str) -> str:
    """Add what turns unit embeddings into logits."""
    found = head.classifier
    if isinstance(found, AdapterClassifier):
        adapter = graph.constant("adapter", found.adapter.T)
        units = graph.normalized(graph.add("MatMul", [units, adapter], "adapted"))
    weights = graph.constant("weights", found.weights.T)
    logits = graph.add("MatMul", [units, weights], "text_logits")
    if isinstance(found, AdapterClassifier):
        return logits
    if not isinstance(found, CacheClassifier):
        return graph.add("Add", [logits, graph.constant("bias", found.bias)], "logits")
    cosines = graph.add("MatMul", [units, graph.constant("keys", found.keys.T)], "cosines")
    nearness = graph.add("Sub", [cosines, graph.constant("one", 1.0)], "nearness")
    nearness = graph.add("Mul", [nearness, graph.constant("beta", found.beta)], "scaled_nearness")
    each = graph.add("Exp", [nearness], "image_votes")
    classes = graph.constant("classes", found.alpha * np.eye(len(found.weights))[found.labels])
    votes = graph.add("MatMul", [each, classes], "votes")
    return graph.add("Add", [logits, votes], "logits")
