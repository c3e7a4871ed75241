"""8-bit products: weights rounded by hand, and graphs against slow arithmetic in whole numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

onnx = pytest.importorskip("onnx")

import onnxruntime  # noqa: E402
from onnx import TensorProto, helper  # noqa: E402

from clipkit.runtime.quantize import quantize_products, quantize_weight  # noqa: E402


def test_a_weight_is_rounded_with_a_scale_for_each_column() -> None:
    weight = np.array([[1.0, -0.5, 0.0], [-0.498, 0.25, 0.0]], np.float32)
    values, scales = quantize_weight(weight)
    # 127 stands for the largest of a column: 0.498 * 127 = 63.2, 0.25 / 0.5 * 127 = 63.5 -> 64.
    assert values.tolist() == [[127, -127, 0], [-63, 64, 0]]
    np.testing.assert_allclose(scales, [1 / 127, 0.5 / 127, 1], rtol=1e-6)
    assert np.abs(values * scales - weight).max() <= scales[:2].max() / 2


def _slow_product(inputs: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float64]:
    """Inputs as whole numbers 0 to 255 between their least and largest, as ONNX defines it."""
    least, largest = min(float(inputs.min()), 0.0), max(float(inputs.max()), 0.0)
    scale = (largest - least) / 255
    zero = int(np.clip(np.rint(-least / scale), 0, 255))
    columns = weight.shape[1]
    result = np.zeros((len(inputs), columns))
    for row, values in enumerate(inputs):
        for column in range(columns):
            step = np.abs(weight[:, column]).max() / 127
            total = 0
            for value, factor in zip(values, weight[:, column], strict=True):
                whole = int(np.clip(np.rint(value / scale) + zero, 0, 255)) - zero
                total += whole * int(np.rint(factor / step))
            result[row, column] = total * scale * step
    return result


@pytest.mark.parametrize("kind", ["MatMul", "FusedMatMul", "Gemm"])
@pytest.mark.parametrize("stored_type", [np.float32, np.float16])
def test_products_equal_slow_arithmetic(tmp_path: Path, kind: str, stored_type: type) -> None:
    random = np.random.default_rng(0)
    weight: NDArray[Any] = random.normal(size=(24, 7)).astype(stored_type)
    weight[:, 3] *= 40  # a column of its own scale
    bias = random.normal(size=7).astype(np.float32)
    inputs = random.normal(size=(5, 24)).astype(np.float32)
    is_transposed = kind != "MatMul"
    stored = np.ascontiguousarray(weight.T if is_transposed else weight)
    (tmp_path / "weights").write_bytes(b"12345678" + stored.tobytes())
    tensor = TensorProto(
        name="w" if stored_type is np.float32 else "narrow",
        data_type=helper.np_dtype_to_tensor_dtype(stored.dtype),
        dims=stored.shape,
        data_location=TensorProto.EXTERNAL,
    )
    for key, value in {"location": "weights", "offset": 8, "length": stored.nbytes}.items():
        tensor.external_data.add(key=key, value=str(value))
    nodes = []
    if stored_type is np.float16:
        nodes.append(helper.make_node("Cast", ["narrow"], ["w"], to=TensorProto.FLOAT))
    options: dict[str, Any] = {"transB": 1} if is_transposed else {}
    domain = "com.microsoft" if kind == "FusedMatMul" else ""
    names = ["x", "w", *(["b"] if kind == "Gemm" else [])]
    nodes.append(helper.make_node(kind, names, ["y"], domain=domain, **options))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 24])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 7])],
        [tensor, *([onnx.numpy_helper.from_array(bias, "b")] if kind == "Gemm" else [])],
    )
    domains = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=domains, ir_version=10)

    assert quantize_products(model.graph, tmp_path, "rounded.bin") == 1
    assert not any(one.name in ("w", "narrow") for one in model.graph.initializer)
    (tmp_path / "g.onnx").write_bytes(model.SerializeToString())
    session = onnxruntime.InferenceSession(str(tmp_path / "g.onnx"))
    (result,) = session.run(None, {"x": inputs})

    expected = _slow_product(inputs, weight.astype(np.float32)) + (bias if kind == "Gemm" else 0)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)
    # And it is a rounded product, not the exact one.
    exact = inputs @ weight.astype(np.float32) + (bias if kind == "Gemm" else 0)
    assert np.abs(result - exact).max() > 1e-3


def test_products_of_activations_and_scaled_ones_stay(tmp_path: Path) -> None:
    weight = np.ones((4, 4), np.float32)
    (tmp_path / "weights").write_bytes(weight.tobytes())
    tensor = TensorProto(
        name="w", data_type=TensorProto.FLOAT, dims=(4, 4), data_location=TensorProto.EXTERNAL
    )
    for key, value in {"location": "weights", "offset": 0, "length": 64}.items():
        tensor.external_data.add(key=key, value=str(value))
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "x"], ["s"]),
            helper.make_node("Gemm", ["s", "w"], ["y"], alpha=0.5),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 4])],
        [tensor],
    )
    assert quantize_products(graph, tmp_path, "rounded.bin") == 0
    assert [node.op_type for node in graph.node] == ["MatMul", "Gemm"]
