"""Products of activations with fixed ranges: against slow arithmetic in whole numbers."""

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

from clipkit.runtime.fixed_ranges import fix_ranges  # noqa: E402

DOMAINS = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]


def _model(values: Any, scales: Any, bias: Any = None) -> Any:
    constants = {"values": values, "scales": scales} | ({} if bias is None else {"bias": bias})
    inputs = ["x", "values", "scales", *(["", "bias"] if bias is not None else [])]
    graph = helper.make_graph(
        [
            helper.make_node("DynamicQuantizeMatMul", inputs, ["y"], domain="com.microsoft"),
            helper.make_node("Relu", ["y"], ["z"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 2])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=DOMAINS, ir_version=10)


@pytest.mark.parametrize("has_bias", [False, True])
def test_products_equal_slow_arithmetic(has_bias: bool) -> None:
    values = np.array([[127, -3], [-50, 127], [8, 90]], np.int8)
    scales = np.array([0.01, 0.5], np.float32)
    bias = np.array([0.25, -7.0], np.float32)
    model = _model(values, scales, bias if has_bias else None)
    fix_ranges(model.graph, {"x": (-1.0, 4.1)})
    assert [node.op_type for node in model.graph.node if node.domain] == []
    inputs = np.array([[0.3, -0.72, 2.0], [9.0, -3.0, 4.1], [0.0, 0.011, -0.009]], np.float32)
    (result,) = ReferenceEvaluator(model).run(None, {"x": inputs})
    step = np.float32(5.1 / 255)  # .02, so that zero is the 50th of 255 steps
    for row, outputs in zip(inputs, np.asarray(result), strict=True):
        whole = [min(max(round(float(value / step)) + 50, 0), 255) - 50 for value in row]
        for column, output in enumerate(outputs):
            total = sum(one * int(values[place, column]) for place, one in enumerate(whole))
            exact = total * step * scales[column] + (bias[column] if has_bias else 0)
            assert output == pytest.approx(max(exact, 0), rel=1e-4, abs=1e-5)


def test_activations_of_two_products_are_rounded_once() -> None:
    model = _model(np.ones((3, 2), np.int8), np.ones(2, np.float32))
    again = helper.make_node(
        "DynamicQuantizeMatMul", ["x", "values", "scales"], ["w"], domain="com.microsoft"
    )
    model.graph.node.append(again)
    model.graph.output.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, None))
    fix_ranges(model.graph, {"x": (0.0, 0.0)})  # nothing but zeros was seen
    operations = [node.op_type for node in model.graph.node]
    assert operations.count("QuantizeLinear") == 1
    assert operations.count("MatMul") == 2
    zeros = np.zeros((1, 3), np.float32)
    for result in ReferenceEvaluator(model).run(None, {"x": zeros}):
        np.testing.assert_array_equal(np.asarray(result), 0)
