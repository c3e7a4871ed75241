"""Smoothing: the same numbers before rounding, and far smaller errors after it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

from clipkit.runtime.quantize import quantize_activations, quantize_weight  # noqa: E402
from clipkit.runtime.smoothing import (  # noqa: E402
    Activations,
    Smoothing,
    choose_smoothing,
    divide_activations,
    record_activations,
    smooth_products,
)

CHANNELS, OUTPUTS, ROWS = 32, 12, 6
OUTLIERS = [3, 17]
DOMAINS = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]


def _store(directory: Path, **tensors: NDArray[np.float32]) -> list[Any]:
    """Write tensors one after another into a file; return them as a graph names them."""
    stored, offset = [], 0
    with (directory / "weights").open("wb") as file:
        for name, values in tensors.items():
            file.write(values.tobytes())
            tensor = TensorProto(
                name=name,
                data_type=TensorProto.FLOAT,
                dims=values.shape,
                data_location=TensorProto.EXTERNAL,
            )
            fields = {"location": "weights", "offset": offset, "length": values.nbytes}
            for key, value in fields.items():
                tensor.external_data.add(key=key, value=str(value))
            stored.append(tensor)
            offset += values.nbytes
    return stored


@pytest.fixture
def model(tmp_path: Path) -> Any:
    """A layer norm whose result goes, turned, into two products; a GELU's goes into a third."""
    random = np.random.default_rng(0)
    gain = np.ones(CHANNELS, np.float32)
    gain[OUTLIERS] = 60
    tensors = {
        "gain": gain,
        "bias": random.normal(size=CHANNELS).astype(np.float32),
        "first": random.normal(size=(CHANNELS, OUTPUTS)).astype(np.float32),
        "second": random.normal(size=(CHANNELS, CHANNELS)).astype(np.float32),
        "third": random.normal(size=(OUTPUTS, CHANNELS)).astype(np.float32),
    }
    for name in ("first", "second"):
        tensors[name][OUTLIERS] /= 60
    nodes = [
        helper.make_node("LayerNormalization", ["x", "gain", "bias"], ["normed"]),
        helper.make_node("Transpose", ["normed"], ["turned"], perm=[1, 0, 2]),
        helper.make_node("MatMul", ["turned", "first"], ["y"]),
        helper.make_node("MatMul", ["turned", "second"], ["hidden"]),
        helper.make_node("Gelu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["rows", "third"], ["z"], transB=1),
        helper.make_node("Reshape", ["active", "shape"], ["rows"]),
    ]
    nodes[-2:] = nodes[:-3:-1]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, ROWS, CHANNELS])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "z")],
        [
            *_store(tmp_path, **tensors),
            onnx.numpy_helper.from_array(np.array([-1, CHANNELS]), "shape"),
        ],
    )
    return helper.make_model(graph, opset_imports=DOMAINS, ir_version=10)


def _calls() -> list[dict[str, NDArray[np.float32]]]:
    random = np.random.default_rng(1)
    return [{"x": random.normal(size=(2, ROWS, CHANNELS)).astype(np.float32)} for _ in range(3)]


def _run(model: Any, directory: Path, inputs: dict[str, Any]) -> list[NDArray[np.float32]]:
    """Return the outputs of a graph by ONNX's own reference, in Python."""
    file = directory / "g.onnx"
    file.write_bytes(model.SerializeToString())
    return [np.asarray(each) for each in ReferenceEvaluator(onnx.load(str(file))).run(None, inputs)]


def test_ranges_are_of_all_that_a_product_gets(model: Any, tmp_path: Path) -> None:
    found = record_activations(model, tmp_path, _calls())
    assert list(found) == ["turned", "rows"]
    assert not (tmp_path / "watched.onnx").exists()
    shown = onnx.ModelProto.FromString(model.SerializeToString())
    del shown.graph.output[:]
    shown.graph.output.append(helper.make_tensor_value_info("turned", TensorProto.FLOAT, None))
    for number, inputs in enumerate(_calls()):
        (rows,) = _run(shown, tmp_path, inputs)
        rows = rows.reshape(-1, CHANNELS)
        np.testing.assert_allclose(found["turned"].least[number], rows.min(axis=0), atol=1e-4)
        np.testing.assert_allclose(found["turned"].largest[number], rows.max(axis=0), atol=1e-4)
    assert found["turned"].calls.tolist() == [0] * 12 + [1] * 12 + [2] * 12


def test_the_chosen_factors_are_those_with_the_least_error_of_the_product() -> None:
    random = np.random.default_rng(2)
    rows = random.normal(size=(40, CHANNELS)).astype(np.float32)
    rows[:, OUTLIERS] *= 50
    weight = random.normal(size=(CHANNELS, OUTPUTS)).astype(np.float32)
    weight[OUTLIERS] /= 50
    activations = Activations(
        rows, np.zeros(40, np.int64), rows.min(axis=0)[None], rows.max(axis=0)[None]
    )
    found = choose_smoothing(activations, weight)
    assert found.factors is not None

    def slow_error(factors: NDArray[np.float32]) -> float:
        divided = rows / factors
        least, largest = (np.full((40, 1), end) for end in (divided.min(), divided.max()))
        values, scales = quantize_weight(weight * factors[:, None])
        product = quantize_activations(divided, least, largest) @ (values * scales)
        return float(((product - rows @ weight) ** 2).sum() / ((rows @ weight) ** 2).sum())

    assert found.error == pytest.approx(slow_error(found.factors), rel=1e-4)
    assert found.plain_error == pytest.approx(slow_error(np.ones(CHANNELS, np.float32)), rel=1e-4)
    assert found.error < found.plain_error / 20
    # Factors of the paper's own share of one half are no better.
    halves = np.sqrt(np.abs(rows).max(axis=0) / np.abs(weight).max(axis=1))
    assert found.error <= slow_error(halves) * 1.0001


def test_dividing_and_multiplying_by_factors_changes_nothing(model: Any, tmp_path: Path) -> None:
    (inputs, *_) = _calls()
    expected = _run(model, tmp_path, inputs)
    found = smooth_products(model.graph, tmp_path, record_activations(model, tmp_path, _calls()))
    random = np.random.default_rng(3)
    # Any factors will do; the second has no layer norm before it and is worth a division.
    smoothing = {
        name: Smoothing(random.uniform(0.1, 9, CHANNELS).astype(np.float32), 0.1, 1.0)
        for name in found
    }
    factors = divide_activations(model.graph, tmp_path, smoothing)
    assert [node.op_type for node in model.graph.node].count("Mul") == 1  # the norm takes its own
    assert not np.allclose(_run(model, tmp_path, inputs)[0], expected[0], rtol=1e-2)
    weights = {
        each.name: onnx.numpy_helper.to_array(each, base_dir=str(tmp_path))
        for each in model.graph.initializer
    }
    for node in model.graph.node:
        if node.op_type in ("MatMul", "Gemm"):
            factor = factors[node.input[0]]
            weight = weights[node.input[1]]
            scaled = weight * (factor if node.op_type == "Gemm" else factor[:, None])
            model.graph.initializer.append(onnx.numpy_helper.from_array(scaled, node.output[0]))
            node.input[1] = node.output[0] + ".w"
            model.graph.initializer[-1].name = node.input[1]
    for result, before in zip(_run(model, tmp_path, inputs), expected, strict=True):
        np.testing.assert_allclose(result, before, rtol=1e-3, atol=1e-3)


def test_what_others_read_too_is_divided_by_a_node_of_its_own(model: Any, tmp_path: Path) -> None:
    extra = helper.make_node("Abs", ["normed"], ["kept"])  # as a residual reads it
    model.graph.node.append(extra)
    model.graph.output.append(helper.make_tensor_value_info("kept", TensorProto.FLOAT, None))
    (inputs, *_) = _calls()
    expected = _run(model, tmp_path, inputs)[-1]
    smoothing = {"turned": Smoothing(np.full(CHANNELS, 5, np.float32), 0.1, 1.0)}
    factors = divide_activations(model.graph, tmp_path, smoothing)
    assert list(factors) == ["turned.divided"]
    np.testing.assert_allclose(_run(model, tmp_path, inputs)[-1], expected)


def test_a_division_that_gains_little_is_left_out(model: Any, tmp_path: Path) -> None:
    smoothing = {"rows": Smoothing(np.full(CHANNELS, 5, np.float32), 0.9, 1.0)}
    before = model.SerializeToString()
    assert divide_activations(model.graph, tmp_path, smoothing) == {}
    assert model.SerializeToString() == before
