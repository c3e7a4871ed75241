"""Channels-last layers rewritten as convolutions: the same numbers, by ONNX's reference."""

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

from clipkit.runtime.channels_first import put_channels_first  # noqa: E402
from clipkit.runtime.fixed_ranges import fix_ranges  # noqa: E402

DOMAINS = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
RANDOM = np.random.default_rng(0)
TO_LAST = helper.make_node("Transpose", ["x"], ["last"], perm=[0, 2, 3, 1])
NORM = helper.make_node("LayerNormalization", ["last", "gain", "shift"], ["norm"], epsilon=1e-6)
CONSTANTS: dict[str, Any] = {
    "gain": RANDOM.standard_normal(6, dtype=np.float32),
    "shift": RANDOM.standard_normal(6, dtype=np.float32),
    "weight": RANDOM.standard_normal((6, 9), dtype=np.float32),
    "bias": RANDOM.standard_normal(9, dtype=np.float32),
    "half": np.array(0.5, np.float32),
    "back": RANDOM.standard_normal((9, 6), dtype=np.float32),
    "values": RANDOM.integers(-127, 128, (6, 9)).astype(np.int8),
    "scales": RANDOM.uniform(0.001, 0.01, 9).astype(np.float32),
}


def _block(x: str = "x", y: str = "y") -> list[Any]:
    """A block as ConvNeXt has it, of a tensor, with what is added to it in the end."""
    steps: list[tuple[str, list[str], dict[str, Any]]] = [
        ("Transpose", [x], {"perm": [0, 2, 3, 1]}),
        ("LayerNormalization", ["1", "gain", "shift"], {"epsilon": 1e-6}),
        ("MatMul", ["2", "weight"], {}),
        ("Add", ["bias", "3"], {}),
        ("Gelu", ["4"], {}),
        ("Mul", ["5", "half"], {}),
        ("MatMul", ["6", "back"], {}),
        ("Transpose", ["7"], {"perm": [0, 3, 1, 2]}),
    ]
    nodes = [
        helper.make_node(
            operation,
            [f"{y}.{name}" if name.isdigit() else name for name in inputs],
            [f"{y}.{number}"],
            **attributes,
        )
        for number, (operation, inputs, attributes) in enumerate(steps, start=1)
    ]
    return [*nodes, helper.make_node("Add", [f"{y}.8", x], [y])]


def _model(nodes: list[Any], result: str = "y") -> Any:
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6, 4, 5])],
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, [None] * 4)],
        [
            onnx.numpy_helper.from_array(value, name)
            for name, value in CONSTANTS.items()
            if name in used
        ],
    )
    return helper.make_model(graph, opset_imports=DOMAINS, ir_version=10)


def _run(model: Any) -> Any:
    inputs = np.random.default_rng(1).standard_normal((3, 6, 4, 5), dtype=np.float32)
    (result,) = ReferenceEvaluator(model).run(None, {"x": inputs})
    return result


def _moves(model: Any) -> int:
    return sum(
        node.op_type == "Transpose" and len(helper.get_node_attr_value(node, "perm")) == 4
        for node in model.graph.node
    )


def test_a_block_computes_the_same_without_moving_its_channels() -> None:
    model = _model(_block())
    expected = _run(model)
    assert put_channels_first(model.graph) == 1
    onnx.checker.check_model(model)
    assert _moves(model) == 0
    assert not {"MatMul", "LayerNormalization"} & {node.op_type for node in model.graph.node}
    np.testing.assert_allclose(_run(model), expected, rtol=1e-4, atol=1e-5)


def test_a_layer_norm_alone_without_bias_and_with_the_usual_epsilon() -> None:
    norm = helper.make_node("LayerNormalization", ["last", "gain"], ["norm"])
    back = helper.make_node("Transpose", ["norm"], ["first"], perm=[0, 3, 1, 2])
    model = _model([TO_LAST, norm, back, helper.make_node("Abs", ["first"], ["y"])])
    expected = _run(model)
    assert put_channels_first(model.graph) == 1
    assert _moves(model) == 0
    np.testing.assert_allclose(_run(model), expected, rtol=1e-4, atol=1e-5)


def test_products_in_8_bits_compute_the_same() -> None:
    product = helper.make_node(
        "DynamicQuantizeMatMul",
        ["norm", "values", "scales", "", "bias"],
        ["wide"],
        domain="com.microsoft",
    )
    back = helper.make_node("Transpose", ["wide"], ["first"], perm=[0, 3, 1, 2])
    model = _model([TO_LAST, NORM, product, back, helper.make_node("Abs", ["first"], ["y"])])
    fix_ranges(model.graph, {"norm": (-4.0, 5.0)})
    expected = _run(model)
    assert put_channels_first(model.graph) == 1
    assert _moves(model) == 0
    # A number that lies in the middle of two steps may be rounded to either.
    step = 9 / 255 * 127 * float(CONSTANTS["scales"].max())
    np.testing.assert_allclose(_run(model), expected, atol=step + 1e-4)
    assert np.mean(np.abs(_run(model) - expected) > 1e-4) < 0.01


@pytest.mark.parametrize(
    "nodes",
    [
        # Not pixel by pixel: a mean of all pixels, a softmax over channels.
        [helper.make_node("ReduceMean", ["norm"], ["between"])],
        [helper.make_node("Softmax", ["norm"], ["between"])],
        # With something that is no constant, and was not moved.
        [
            helper.make_node("Transpose", ["x"], ["other"], perm=[0, 2, 3, 1]),
            helper.make_node("Add", ["norm", "other"], ["between"]),
        ],
    ],
)
def test_what_is_not_pixel_by_pixel_stays_as_it_is(nodes: list[Any]) -> None:
    back = helper.make_node("Transpose", ["between"], ["first"], perm=[0, 3, 1, 2])
    model = _model([TO_LAST, NORM, *nodes, back, helper.make_node("Abs", ["first"], ["y"])])
    before = model.SerializeToString()
    assert put_channels_first(model.graph) == 0
    assert model.SerializeToString() == before


@pytest.mark.parametrize("result", ["y.7", "y.8"])
def test_a_result_of_the_graph_keeps_its_order(result: str) -> None:
    model = _model(_block()[:-1], result)
    assert put_channels_first(model.graph) == 0
    assert result in {name for node in model.graph.node for name in node.output}


def test_regions_are_rewritten_each_for_itself() -> None:
    mean = helper.make_node("ReduceMean", ["y.5"], ["mean"])  # so the second one cannot be
    total = helper.make_node("Add", ["y", "mean"], ["z"])
    model = _model([*_block("x", "middle"), *_block("middle", "y"), mean, total], "z")
    expected = _run(model)
    assert put_channels_first(model.graph) == 1
    assert _moves(model) == 2
    np.testing.assert_allclose(_run(model), expected, rtol=1e-4, atol=1e-5)
