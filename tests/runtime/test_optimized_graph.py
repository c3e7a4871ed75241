"""Graphs optimised in advance: the same results, and weights where they were."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

import onnxruntime  # noqa: E402
from onnx import TensorProto, helper  # noqa: E402

from clipkit.runtime.optimized_graph import optimize_graph  # noqa: E402

WIDTH, HIDDEN = 256, 1024  # of a weight of 1 MiB in float32: what is smaller is not stored apart
OFFSET = 64


def write_graph(folder: Path, before_product: str | None = None) -> Path:
    """A layer norm in small operations and a product with a weight of another file.

    A weight that is cast before the product is in half precision.
    """
    rng = np.random.default_rng(0)
    kind = np.float16 if before_product == "Cast" else np.float32
    weight = rng.normal(size=(WIDTH, HIDDEN)).astype(kind)
    (folder / "weights.bin").write_bytes(bytes(OFFSET) + weight.tobytes())
    stored = TensorProto(
        name="weight",
        data_type=helper.np_dtype_to_tensor_dtype(weight.dtype),
        dims=weight.shape,
        data_location=TensorProto.EXTERNAL,
    )
    fields = {"location": "weights.bin", "offset": OFFSET, "length": weight.nbytes}
    for key, value in fields.items():
        stored.external_data.add(key=key, value=str(value))
    make = helper.make_node
    nodes = [
        make("ReduceMean", ["x"], ["mean"], axes=[-1]),
        make("Sub", ["x", "mean"], ["centred"]),
        make("Pow", ["centred", "two"], ["squares"]),
        make("ReduceMean", ["squares"], ["variance"], axes=[-1]),
        make("Add", ["variance", "small"], ["above_zero"]),
        make("Sqrt", ["above_zero"], ["deviation"]),
        make("Div", ["centred", "deviation"], ["standard"]),
        make("Mul", ["standard", "gain"], ["scaled"]),
        make("Add", ["scaled", "shift"], ["normed"]),
        make("MatMul", ["normed", "made" if before_product else "weight"], ["features"]),
    ]
    if before_product:
        options: dict[str, Any] = {"to": TensorProto.FLOAT} if before_product == "Cast" else {}
        nodes.insert(0, make(before_product, ["weight"], ["made"], **options))
    small = {"two": 2.0, "small": 1e-5}
    constants = [helper.make_tensor(name, TensorProto.FLOAT, [], [v]) for name, v in small.items()]
    for name in ("gain", "shift"):
        row = rng.normal(size=WIDTH).astype(np.float32)
        constants.append(onnx.numpy_helper.from_array(row, name))
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", WIDTH]),
        helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", HIDDEN]),
    ]
    graph = helper.make_graph(nodes, "tower", ends[:1], ends[1:], [stored, *constants])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (folder / "tower.onnx").write_bytes(model.SerializeToString())
    return folder / "tower.onnx"


def features(path: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rows = np.random.default_rng(1).normal(size=(3, WIDTH)).astype(np.float32)
    return np.asarray(session.run(None, {"x": rows})[0])


def test_an_optimized_graph_computes_the_same_with_weights_where_they_were(tmp_path: Path) -> None:
    path = write_graph(tmp_path)
    before, expected = onnx.load(path, load_external_data=False), features(path)
    assert optimize_graph(path)
    np.testing.assert_array_equal(features(path), expected)
    after = onnx.load(path, load_external_data=False)
    assert [node.op_type for node in after.graph.node] == ["LayerNormalization", "MatMul"]
    weights = [
        next(tensor for tensor in model.graph.initializer if tensor.name == "weight")
        for model in (before, after)
    ]
    assert weights[0] == weights[1]
    assert {path.name for path in tmp_path.iterdir()} == {"tower.onnx", "weights.bin"}
    assert {each.domain for each in after.opset_import} == {""}


@pytest.mark.parametrize("before_product", ["Cast", "Neg"])
def test_a_graph_that_would_need_weights_of_its_own_is_left_alone(
    before_product: str, tmp_path: Path
) -> None:
    path = write_graph(tmp_path, before_product)
    before = path.read_bytes()
    assert not optimize_graph(path)
    assert path.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"tower.onnx", "weights.bin"}
