"""Reading and changing ONNX graphs, above all their products with a stored weight.

These products are where the time of a transformer goes, and what 8 bits speed up.

Shapes: K inputs and N outputs of a product.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

_PRODUCTS = ("MatMul", "FusedMatMul", "Gemm")
_NEUTRAL = {"alpha": 1.0, "beta": 1.0, "transA": 0}  # a product that does nothing besides


@dataclass(frozen=True)
class Product:
    """A node that multiplies activations with a weight that lies in another file."""

    node: onnx.NodeProto
    weight: TensorProto

    @property
    def activations(self) -> str:
        """Name of what is multiplied with the weight."""
        name: str = self.node.input[0]
        return name

    @property
    def is_transposed(self) -> bool:
        """Whether the weight is stored with a row for each output."""
        return attribute(self.node, "transB") == 1

    def read_weight(self, directory: Path) -> NDArray[np.float32]:
        """Return the weight, shape (K, N), from the directory of its file."""
        weight = read_tensor(self.weight, directory).astype(np.float32)
        return weight.T if self.is_transposed else weight


def find_products(graph: onnx.GraphProto) -> Iterator[Product]:
    """Yield the plain products with a stored matrix, in the order of the graph."""
    stored = stored_sources(graph)
    for node in graph.node:
        weight = stored.get(node.input[1]) if node.op_type in _PRODUCTS else None
        if weight is not None and len(weight.dims) == 2 and is_plain(node):
            yield Product(node, weight)


def stored_sources(graph: onnx.GraphProto) -> dict[str, TensorProto]:
    """Return the tensors that lie in another file, by the names that nodes use for them.

    One in half precision is used by the name of what widens it when the engine starts.
    """
    stored = {tensor.name: tensor for tensor in graph.initializer if tensor.external_data}
    widened = {
        node.output[0]: stored[node.input[0]]
        for node in graph.node
        if node.op_type == "Cast" and node.input[0] in stored
    }
    return widened | stored


def read_tensor(tensor: TensorProto, directory: Path) -> NDArray[np.generic]:
    """Return a tensor, mapped from its file in the directory if it lies in one."""
    if not tensor.external_data:
        return onnx.numpy_helper.to_array(tensor)
    fields = {entry.key: entry.value for entry in tensor.external_data}
    return np.memmap(
        directory / fields["location"],
        dtype=helper.tensor_dtype_to_np_dtype(tensor.data_type),
        mode="r",
        offset=int(fields["offset"]),
        shape=tuple(tensor.dims),
    )


def replace_nodes(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> None:
    """Give a graph other nodes, which may be or contain its own."""
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def drop_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes and tensors of a graph that lead to none of its outputs, in place."""
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


def attribute(node: onnx.NodeProto, name: str) -> float | None:
    """Return a number that is an attribute of a node; None if it has none of that name."""
    for each in node.attribute:
        if each.name == name:
            value: float = helper.get_attribute_value(each)
            return value
    return None


def is_plain(node: onnx.NodeProto) -> bool:
    """Return whether a product does nothing besides: no factor, no transposed activations."""
    return all(attribute(node, name) in (None, value) for name, value in _NEUTRAL.items())
