"""Quantisation to int8: matrix products that are several times faster on CPUs made for them.

Weights are rounded once, with a scale for each output; ONNX Runtime rounds activations as they
come, with a scale for each call (dynamic quantisation), so nothing has to be calibrated. Where a
CPU adds such products in 16 bits, large sums saturate: the parity gate measures on the machine that
compiles, and notices.

Shapes: K inputs and N outputs of a matrix product.
"""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

LARGEST = 127
_ALIGNMENT = 64  # bytes, so that a mapped tensor starts where vector instructions want it
_PRODUCTS = ("MatMul", "FusedMatMul", "Gemm")


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


def quantize_products(graph: onnx.GraphProto, directory: Path, data_name: str) -> int:
    """Rewrite every product with a borrowed weight as one in 8 bits, in place.

    Args:
        graph: A graph whose weights lie in a file of the directory.
        directory: Where that file is, and where the rounded weights are written.
        data_name: The file for the rounded weights.

    Returns:
        How many products were rewritten.
    """
    stored = {tensor.name: tensor for tensor in graph.initializer if tensor.external_data}
    sources = {  # a weight that is widened when the runtime starts is rounded all the same
        node.output[0]: stored[node.input[0]]
        for node in graph.node
        if node.op_type == "Cast" and node.input[0] in stored
    }
    sources |= stored
    written: dict[str, tuple[str, str]] = {}
    count = 0
    with (directory / data_name).open("wb") as data:
        for node in graph.node:
            if node.op_type not in _PRODUCTS or node.input[1] not in sources:
                continue
            source = sources[node.input[1]]
            is_transposed = _attribute(node, "transB") == 1
            if len(source.dims) != 2 or not _is_plain(node):
                continue
            key = f"{source.name}.{is_transposed}"
            if key not in written:
                weight = _read(source, directory).astype(np.float32)
                values, scales = quantize_weight(weight.T if is_transposed else weight)
                written[key] = f"{source.name}.int8", f"{source.name}.scales"
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
    _drop_unused(graph)
    return count


def _is_plain(node: onnx.NodeProto) -> bool:
    """Return whether a product does nothing besides, such as scaling its result."""
    neutral = {"alpha": 1.0, "beta": 1.0, "transA": 0}
    return all(_attribute(node, name) in (None, value) for name, value in neutral.items())


def _attribute(node: onnx.NodeProto, name: str) -> float | None:
    for attribute in node.attribute:
        if attribute.name == name:
            value: float = helper.get_attribute_value(attribute)
            return value
    return None


def _read(tensor: TensorProto, directory: Path) -> NDArray[np.generic]:
    fields = {entry.key: entry.value for entry in tensor.external_data}
    return np.memmap(
        directory / fields["location"],
        dtype=helper.tensor_dtype_to_np_dtype(tensor.data_type),
        mode="r",
        offset=int(fields["offset"]),
        shape=tuple(tensor.dims),
    )


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


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Remove what only the rewritten products used."""
    while True:
        used = {name for node in graph.node for name in node.input}
        used |= {output.name for output in graph.output}
        nodes = [node for node in graph.node if used.intersection(node.output)]
        if len(nodes) == len(graph.node):
            break
        kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(kept)
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    kept_tensors = [TensorProto.FromString(one.SerializeToString()) for one in tensors]
    del graph.initializer[:]
    graph.initializer.extend(kept_tensors)
