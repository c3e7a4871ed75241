"""A tower as an ONNX graph that borrows its weights from the checkpoint's own file.

ONNX allows a tensor to lie in another file, at an offset. A safetensors file is a header and raw
tensors, so a graph can point straight at a checkpoint's half-precision weights: nothing is stored
twice, and the graph cannot drift from the weights. The runtime widens them once, when it starts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper
from torch import nn

from clipkit.models.safetensors_header import read_header

ONNX_TYPES = {"F16": TensorProto.FLOAT16, "BF16": TensorProto.BFLOAT16, "F32": TensorProto.FLOAT}
# Folding beyond this would copy weights into the graph: transposed, they match nothing in the file.
FOLDED_ELEMENTS = 64
FOLDED_BYTES = 16_384  # the zero bias of the widest convolution fits


@dataclass(frozen=True)
class StoredTensor:
    """Where one tensor lies in a safetensors file."""

    onnx_type: int
    shape: tuple[int, ...]
    offset: int  # bytes from the start of the file
    length: int  # bytes


def stored_tensors(weights: Path) -> dict[str, StoredTensor]:
    """Return where every floating-point tensor of a safetensors file lies."""
    header, start = read_header(weights)
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] in ONNX_TYPES:
            begin, end = entry["data_offsets"]
            tensors[name] = StoredTensor(
                onnx_type=ONNX_TYPES[entry["dtype"]],
                shape=tuple(entry["shape"]),
                offset=start + begin,
                length=end - begin,
            )
    return tensors


def export_graph(
    tower: nn.Module,
    example: torch.Tensor,
    *,
    input_name: str,
    dynamic: Mapping[int, Any],
    prefix: str = "",
    weights: Path,
) -> onnx.ModelProto:
    """Return a tower as an ONNX graph whose weights lie in a checkpoint's file.

    Args:
        tower: A module in evaluation mode with one tensor in and one out.
        example: An input of the right shape and type.
        input_name: Name of the graph's input; it must be the name of the forward argument.
        dynamic: A dimension of torch.export's for every axis of the input that may have any size.
        prefix: What the module's parameter names have before the file's names.
        weights: The safetensors file; the graph must be saved beside it.

    Returns:
        The graph, with its output named "features". What is not in the file stays inside.
    """
    from onnx_ir.passes.common import InlinePass, RemoveUnusedNodesPass
    from onnxscript import ir, optimizer

    program = torch.onnx.export(
        tower,
        (example,),
        dynamo=True,
        dynamic_shapes={input_name: dict(dynamic)},
        input_names=[input_name],
        output_names=["features"],
        optimize=False,  # it would fold weights into new tensors; see below for what is folded
        verbose=False,
    )
    assert program is not None  # only exports to a file return None
    model = program.model
    InlinePass()(model)
    optimizer.fold_constants(
        model,
        input_size_limit=FOLDED_ELEMENTS,
        output_size_limit=FOLDED_BYTES,
        should_fold=lambda node: False if node.op_type == "Transpose" else None,
    )
    RemoveUnusedNodesPass()(model)
    stored = stored_tensors(weights)
    for name, value in model.graph.initializers.items():
        tensor = stored.get(name.removeprefix(prefix))
        array = value.const_value
        if tensor is not None and array is not None and tensor.shape == tuple(array.shape):
            # From here on without its bytes: a graph with them may exceed protobuf's 2 GB.
            value.const_value = ir.ExternalTensor(
                location=weights.name,
                offset=tensor.offset,
                length=tensor.length,
                dtype=ir.DataType(tensor.onnx_type),
                shape=ir.Shape(tensor.shape),
                name=name,
            )
    proto: onnx.ModelProto = ir.to_proto(model)
    for node in proto.graph.node:  # stack traces of the export name files of this machine
        del node.metadata_props[:]
        node.doc_string = ""
    del proto.graph.value_info[:]
    del proto.metadata_props[:]
    widen_weights(proto.graph)
    return proto


def widen_weights(graph: onnx.GraphProto) -> None:
    """Cast weights that lie in another file in half precision to float32 where they are used.

    Args:
        graph: A graph of float32; it is changed in place.
    """
    narrow = {
        tensor.name: f"{tensor.name}.stored"
        for tensor in graph.initializer
        if tensor.external_data and tensor.data_type != TensorProto.FLOAT
    }
    for tensor in graph.initializer:
        tensor.name = narrow.get(tensor.name, tensor.name)
    nodes = []
    is_table: dict[str, bool] = {}
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in narrow:
                is_table[name] = is_table.get(name, True) and (node.op_type, place) == ("Gather", 0)
    for name, stored in narrow.items():
        if not is_table.get(name):
            nodes.append(helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT))
    for node in graph.node:
        if node.op_type == "Gather" and is_table.get(node.input[0]):
            # A few rows of an embedding table are widened, not all of it: 30 ms of the starter's.
            rows, (result,) = f"{node.output[0]}.stored", node.output
            node.input[0], node.output[0] = narrow[node.input[0]], rows
            nodes += [node, helper.make_node("Cast", [rows], [result], to=TensorProto.FLOAT)]
        else:
            nodes.append(node)
    replace_nodes(graph, nodes)


def replace_nodes(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> None:
    """Give a graph other nodes, which may be or contain its own."""
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
