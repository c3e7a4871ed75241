"""Graphs in 8 bits whose activations have fixed ranges: the form that OpenVINO's kernels take.

ONNX Runtime rounds activations between the ends of what comes in a call. OpenVINO wants the ends in
advance, from a sample of calls, and then needs no pass over the activations to find them. Beyond
the ends values are cut off.
"""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from clipkit.runtime.onnx_graph import drop_unused, replace_nodes
from clipkit.runtime.quantize import STEPS

Ranges = Mapping[str, tuple[float, float]]  # least and largest, by the activations' names


def fix_ranges(graph: onnx.GraphProto, ranges: Ranges) -> None:
    """Rewrite products in 8 bits as ones of activations with fixed ranges, in place.

    Args:
        graph: A graph of :func:`clipkit.runtime.quantize.quantize_products`; the rounded weights
            stay where they lie.
        ranges: Of what its products get.

    Source:
        QuantizeLinear and DequantizeLinear of ONNX, opset 13, as OpenVINO reads them.
    """
    nodes: list[onnx.NodeProto] = []
    rounded: dict[str, str] = {}
    for node in graph.node:
        if node.op_type != "DynamicQuantizeMatMul":
            nodes.append(node)
            continue
        name, values, scales, _, bias = [*node.input, "", ""][:5]
        if name not in rounded:
            rounded[name] = f"{name}.fixed"
            nodes += _rounding(graph, name, ranges[name])
        (result,) = node.output
        weight, product = f"{result}.weight", f"{result}.product" if bias else result
        nodes += [
            helper.make_node("DequantizeLinear", [values, scales], [weight], axis=1),
            helper.make_node("MatMul", [rounded[name], weight], [product]),
        ]
        if bias:
            nodes.append(helper.make_node("Add", [product, bias], [result]))
    replace_nodes(graph, nodes)
    drop_unused(graph)


def _rounding(graph: onnx.GraphProto, name: str, ends: tuple[float, float]) -> list[onnx.NodeProto]:
    """Return what rounds activations to 8 bits between the ends and gives them back."""
    least, largest = min(ends[0], 0.0), max(ends[1], 0.0)
    step = np.float32((largest - least) / STEPS or 1)
    zero = np.uint8(np.rint(-least / step))
    constants = [f"{name}.step", f"{name}.zero"]
    for constant, value in zip(constants, (step, zero), strict=True):
        graph.initializer.append(numpy_helper.from_array(np.array(value), constant))
    return [
        helper.make_node("QuantizeLinear", [name, *constants], [f"{name}.rounded"]),
        helper.make_node("DequantizeLinear", [f"{name}.rounded", *constants], [f"{name}.fixed"]),
    ]
