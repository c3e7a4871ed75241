"""Channels-last layers as 1 x 1 convolutions: a form of graphs that OpenVINO runs faster.

A ConvNeXt moves channels last for its layer norms and products, and back for its convolutions.
OpenVINO keeps channels together in memory anyway, so that moving them is only work: a product of
every pixel's channels is a convolution of 1 x 1, and what follows it is computed with it.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from clipkit.runtime.onnx_graph import attribute, is_plain, replace_nodes

_TO_LAST, _TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]
_PRODUCTS = ("MatMul", "FusedMatMul")
_PIXEL_BY_PIXEL = (
    "Add", "Div", "Erf", "Gelu", "Mul", "Relu", "Sigmoid", "Sub", "Tanh"
)  # fmt: skip
_ROUNDING = ("QuantizeLinear", "DequantizeLinear")
_NORM = "LayerNormalization"
_CHANNELS, _CHANNELS_OF_ALL = "channels_first.axis", "channels_first.shape"

Dims = dict[str, Sequence[int]]


def put_channels_first(graph: onnx.GraphProto) -> int:
    """Rewrite what is computed between two moves of the channels, last and first again, in place.

    What is between must be computed pixel by pixel: layer norms, products with a weight, functions
    of a number. The graph computes the same but for the order of additions. Other moves stay.

    Args:
        graph: Of opset 18 or later.

    Returns:
        How many moves to the end were taken out.

    Example:
        A block's  Transpose, LayerNormalization, MatMul, Add, Gelu, MatMul, Add, Transpose  becomes
        mean, difference, ... (the norm over channels, which come second), Conv, Add, Gelu, Conv,
        Add.
    """
    dims = _constant_dims(graph)
    regions = {
        node.output[0]: inside
        for node in graph.node
        if _moves(node, _TO_LAST) and (inside := _region(graph, node, dims)) is not None
    }
    if not regions:
        return 0
    inside = {name for region in regions.values() for name in region}
    graph.initializer.append(numpy_helper.from_array(np.array([1]), _CHANNELS))
    graph.initializer.append(numpy_helper.from_array(np.array([-1, 1, 1]), _CHANNELS_OF_ALL))
    nodes: list[onnx.NodeProto] = []
    moved: dict[str, str] = {}  # by names of moved tensors: those of the same ones, not moved
    for node in graph.node:
        names = [moved.get(name, name) for name in node.input]
        if node.output[0] in regions or (_moves(node, _TO_FIRST) and node.input[0] in inside):
            moved[node.output[0]] = names[0]
        elif node.output[0] in inside:
            nodes += _rewritten(node, names, dims)
        else:
            del node.input[:]
            node.input.extend(names)
            nodes.append(node)
    replace_nodes(graph, nodes)
    return len(regions)


def _constant_dims(graph: onnx.GraphProto) -> Dims:
    """Return the dims of stored tensors, also by the names of what widens them."""
    dims: Dims = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in ("Cast", "DequantizeLinear") and node.input[0] in dims:
            dims[node.output[0]] = dims[node.input[0]]
    return dims


def _region(graph: onnx.GraphProto, start: onnx.NodeProto, dims: Dims) -> set[str] | None:
    """Return the tensors from a move to the moves back; None if it cannot be rewritten."""
    inside, back = {start.output[0]}, set()
    for node in graph.node:  # in an order in which whatever a node needs comes before it
        if inside.isdisjoint(node.input):
            continue
        if _moves(node, _TO_FIRST):
            back.add(node.output[0])
            continue
        others = [name for name in node.input if name and name not in inside]
        if not all(name in dims for name in others) or not _is_pixel_by_pixel(node, dims):
            return None
        inside.add(node.output[0])
    results = {output.name for output in graph.output}
    return inside if results.isdisjoint(inside | back) else None


def _is_pixel_by_pixel(node: onnx.NodeProto, dims: Dims) -> bool:
    """Return whether a node of channels-last tensors and constants can be rewritten."""
    stored = [dims[name] for name in node.input if name in dims]
    if node.op_type in _PRODUCTS:
        is_weight = node.input[0] not in dims and len(dims.get(node.input[1], ())) == 2
        return is_weight and is_plain(node)
    if node.op_type == _NORM:
        return attribute(node, "axis") in (None, -1, 3) and len(node.output) == 1
    most = 1 if node.op_type in _PIXEL_BY_PIXEL else 0
    return node.op_type in (*_PIXEL_BY_PIXEL, *_ROUNDING) and all(
        len(one) <= most for one in stored
    )


def _rewritten(node: onnx.NodeProto, names: Sequence[str], dims: Dims) -> Iterator[onnx.NodeProto]:
    """Yield what computes a node's output with the channels second."""
    (result,) = node.output
    if node.op_type in _PRODUCTS:
        weight = names[1]
        if attribute(node, "transB") != 1:
            weight = f"{result}.transposed"
            yield helper.make_node("Transpose", [names[1]], [weight], perm=[1, 0])
        kernel, axes = f"{result}.kernel", f"{result}.axes"
        yield helper.make_node("Constant", [], [axes], value_ints=[2, 3])
        yield helper.make_node("Unsqueeze", [weight, axes], [kernel])
        yield helper.make_node("Conv", [names[0], kernel], [result], kernel_shape=[1, 1])
        return
    columns = {name: f"{result}.{name}" for name in names if len(dims.get(name, ())) == 1}
    for name, column in columns.items():
        yield helper.make_node("Reshape", [name, _CHANNELS_OF_ALL], [column])
    names = [columns.get(name, name) for name in names]
    if node.op_type == _NORM:
        yield from _norm(node, names)
        return
    copy = onnx.NodeProto.FromString(node.SerializeToString())
    del copy.input[:]
    copy.input.extend(names)
    yield copy


def _norm(node: onnx.NodeProto, names: Sequence[str]) -> Iterator[onnx.NodeProto]:
    """Yield a layer norm over the second axis, in steps: ONNX has it over the last ones only."""
    (result,) = node.output
    epsilon = attribute(node, "epsilon")
    steps = {  # what is computed from what; names of an input's place stand for it
        "mean": ("ReduceMean", names[0], _CHANNELS),
        "difference": ("Sub", names[0], "mean"),
        "square": ("Mul", "difference", "difference"),
        "variance": ("ReduceMean", "square", _CHANNELS),
        "above zero": ("Add", "variance", "epsilon"),
        "deviation": ("Sqrt", "above zero"),
        "normed": ("Div", "difference", "deviation"),
        "scaled": ("Mul", "normed", names[1]),
    }
    if len(names) > 2:
        steps["shifted"] = ("Add", "scaled", names[2])
    own = {step: f"{result}.{step}" for step in [*steps, "epsilon"]}
    own[list(steps)[-1]] = result
    yield helper.make_node(
        "Constant", [], [own["epsilon"]], value_float=1e-5 if epsilon is None else epsilon
    )
    for step, (operation, *inputs) in steps.items():
        yield helper.make_node(operation, [own.get(name, name) for name in inputs], [own[step]])


def _moves(node: onnx.NodeProto, order: list[int]) -> bool:
    return node.op_type == "Transpose" and helper.get_node_attr_value(node, "perm") == order
