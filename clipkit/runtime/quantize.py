"""Quantisation to int8: matrix products that are several times faster on CPUs made for them.

Weights are rounded once, with a scale for each output; ONNX Runtime rounds activations as they
come, with a scale for each call (dynamic quantisation), so nothing has to be calibrated. Where a
CPU adds such products in 16 bits, large sums saturate: the parity gate measures on the machine that
compiles, and notices.

Shapes: K inputs and N outputs of a matrix product.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from clipkit.runtime.onnx_graph import drop_unused, find_products

LARGEST = 127
STEPS = 255  # between the ends of the range of activations
_ALIGNMENT = 64  # bytes, so that a mapped tensor starts where vector instructions want it


def quantize_weight(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return a weight in 8 bits with the scales that give it back.

    Args:
        weight: Shape (K, N).

    Returns:
        Whole numbers from -127 to 127, shape (K, N), and a scale for each column, shape (N,):
        their product differs from the weight by at most half a scale.

    Source:
        Symmetric quantisation a channel: Krishnamoorthi 2018 (arXiv 1806.08342), section 2.2.

    Example:
        >>> values, scales = quantize_weight(np.array([[254.0], [-10.0]], np.float32))
        >>> values.tolist(), scales.tolist()
        ([[127], [-5]], [2.0])
    """
    largest = np.abs(weight).max(axis=0)
    scales = np.where(largest > 0, largest, LARGEST).astype(np.float32) / np.float32(LARGEST)
    return np.rint(weight / scales).astype(np.int8), scales


def quantize_activations(
    rows: NDArray[np.float32], least: NDArray[np.float32], largest: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Round activations as ONNX Runtime does: to 8 bits between the ends of a call's range.

    Args:
        rows: Shape (R, K).
        least: The least value of the call that each row is of, shape (R, 1).
        largest: The largest.

    Returns:
        What they count as then, shape (R, K).

    Source:
        DynamicQuantizeLinear of ONNX, opset 11: zero is always one of the 256 steps.
    """
    least, largest = np.minimum(least, 0), np.maximum(largest, 0)
    steps = np.where(largest > least, (largest - least) / STEPS, 1).astype(np.float32)
    zero = np.rint(-least / steps)
    rounded: NDArray[np.float32] = (np.clip(np.rint(rows / steps) + zero, 0, STEPS) - zero) * steps
    return rounded


def quantize_products(
    graph: onnx.GraphProto,
    directory: Path,
    data_name: str,
    *,
    factors: Mapping[str, NDArray[np.float32]] = MappingProxyType({}),
    kept: Collection[str] = (),
) -> int:
    """Rewrite every product with a borrowed weight as one in 8 bits, in place.

    Args:
        graph: A graph whose weights lie in a file of the directory.
        directory: Where that file is, and where the rounded weights are written.
        data_name: The file for the rounded weights.
        factors: What the rows of weights are multiplied with before they are rounded, shape (K,),
            by the name of the activations, which were divided by them.
        kept: Activations whose products stay as they are.

    Returns:
        How many products were rewritten.
    """
    written: dict[tuple[str, bool, str], tuple[str, str]] = {}
    count = 0
    with (directory / data_name).open("wb") as data:
        for product in find_products(graph):
            if product.activations in kept:
                continue
            node, name = product.node, product.weight.name
            factor = factors.get(product.activations)
            key = name, product.is_transposed, "" if factor is None else product.activations
            if key not in written:
                weight = product.read_weight(directory)
                values, scales = quantize_weight(
                    weight if factor is None else weight * factor[:, None]
                )
                written[key] = f"{name}.int8.{count}", f"{name}.scales.{count}"
                graph.initializer.append(_outside(values, written[key][0], data_name, data.tell()))
                data.write(values.tobytes())
                data.write(bytes(-data.tell() % _ALIGNMENT))
                graph.initializer.append(onnx.numpy_helper.from_array(scales, written[key][1]))
            bias = node.input[2] if len(node.input) > 2 else ""
            node.CopyFrom(
                helper.make_node(
                    "DynamicQuantizeMatMul",
                    [node.input[0], *written[key], *(["", bias] if bias else [])],
                    list(node.output),
                    domain="com.microsoft",
                )
            )
            count += 1
    drop_unused(graph)
    return count


def _outside(values: NDArray[np.int8], name: str, location: str, offset: int) -> TensorProto:
    tensor = TensorProto(
        name=name,
        data_type=TensorProto.INT8,
        dims=values.shape,
        data_location=TensorProto.EXTERNAL,
    )
    fields = {"location": location, "offset": offset, "length": values.nbytes}
    for key, value in fields.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor
