"""Smoothing: activations are divided by a factor a channel and weights multiplied, before 8 bits.

A few channels of a trained tower are tens of times larger than the rest. As all activations of a
call share one scale in 8 bits, little is left of the others then. Divided by a factor for each
channel, with the weight's rows multiplied by the same, the product is the same number, and both
sides round well. Behind a layer norm the division costs nothing: it goes into its gain and bias.

Shapes: C calls of the tower, R sampled rows of activations, K inputs and N outputs of a product.

Source:
    SmoothQuant: Xiao et al. 2023 (arXiv 2211.10438). The share of the difficulty that weights take
    is chosen here for each product by what its result is off afterwards, as in OmniQuant (Shao et
    al. 2024, arXiv 2308.13137), by trial instead of by gradient.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from clipkit.runtime.onnx_graph import find_products, read_tensor, replace_nodes, stored_sources
from clipkit.runtime.onnx_runtime import ERRORS_ONLY
from clipkit.runtime.quantize import quantize_activations, quantize_weight

_NORM = "LayerNormalization"
SHARES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)  # of the outliers that go over to the weight
WORTH = 0.5  # of the squared error, below which a division of its own is worth its time
_DIVIDED = ".divided"  # ends the name of what a node of its own divided
_ROWS = 32  # a call: enough to see errors, few enough that 24 wide layers take 0.4 GB
_LEAST = 1e-3  # of the largest channel: what is smaller is not scaled up further


@dataclass(frozen=True)
class Activations:
    """What a product gets in a tower's calls: a sample of the rows, and each channel's range."""

    rows: NDArray[np.float32]  # (R, K)
    calls: NDArray[np.int64]  # (R,), which call each row is of
    least: NDArray[np.float32]  # (C, K)
    largest: NDArray[np.float32]  # (C, K)

    @property
    def magnitude(self) -> NDArray[np.float32]:
        """The largest magnitude of each channel, shape (K,)."""
        magnitude: NDArray[np.float32] = np.maximum(-self.least, self.largest).max(axis=0)
        return magnitude


@dataclass(frozen=True)
class Smoothing:
    """How the products of one activation are smoothed, and how far off 8 bits are then."""

    factors: NDArray[np.float32] | None  # (K,), what activations are divided by; None: nothing
    error: float  # squared error of the products over the square of the products
    plain_error: float  # the same without smoothing

    @property
    def is_worth_a_division(self) -> bool:
        """Whether it pays where activations have to be divided by a node of its own."""
        return self.error <= WORTH * self.plain_error


def record_activations(
    graph: onnx.ModelProto, directory: Path, calls: Iterable[Mapping[str, NDArray[Any]]]
) -> dict[str, Activations]:
    """Run a tower and look at what its products get.

    Args:
        graph: A graph in float32, whose weights lie in a file of the directory.
        directory: Where that file is; the graph is written there for a moment.
        calls: The inputs of each call.

    Returns:
        What was seen, by the activations' names.
    """
    import onnxruntime

    watched = onnx.ModelProto.FromString(graph.SerializeToString())
    names = list(dict.fromkeys(product.activations for product in find_products(watched.graph)))
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
    watched.graph.output.extend(outputs)
    file = directory / "watched.onnx"  # weights are only found from a file beside them
    file.write_bytes(watched.SerializeToString())
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    file.unlink()
    random = np.random.default_rng(0)
    seen: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    ranges: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    for inputs in calls:
        for name, values in zip(names, session.run(names, dict(inputs)), strict=True):
            rows = np.asarray(values).reshape(-1, values.shape[-1])
            ranges[name].append(np.stack([rows.min(axis=0), rows.max(axis=0)]))
            seen[name].append(rows[random.permutation(len(rows))[:_ROWS]])
    return {
        name: Activations(
            rows=np.concatenate(seen[name]),
            calls=np.repeat(np.arange(len(seen[name])), [len(rows) for rows in seen[name]]),
            least=np.stack([least for least, _ in ranges[name]]),
            largest=np.stack([largest for _, largest in ranges[name]]),
        )
        for name in names
    }


def choose_smoothing(activations: Activations, weight: NDArray[np.float32]) -> Smoothing:
    """Return the factors with which the rounded product is closest to the exact one.

    Args:
        activations: What the product gets.
        weight: Shape (K, N); of several products of the same activations side by side.

    Returns:
        The best of no smoothing and :data:`SHARES`.
    """
    exact = activations.rows @ weight
    size = float(np.square(exact).sum()) or 1.0

    def error(factors: NDArray[np.float32]) -> float:
        rounded = quantize_activations(
            activations.rows / factors,
            (activations.least / factors).min(axis=1)[activations.calls, None],
            (activations.largest / factors).max(axis=1)[activations.calls, None],
        )
        values, scales = quantize_weight(weight * factors[:, None])
        return float(np.square(rounded @ (values * scales) - exact).sum()) / size

    plain = error(np.ones(len(weight), np.float32))
    best = Smoothing(None, plain, plain)
    inputs, outputs = _at_least(activations.magnitude), _at_least(np.abs(weight).max(axis=1))
    for share in SHARES:
        factors = (inputs**share / outputs ** (1 - share)).astype(np.float32)
        found = error(factors)
        if found < best.error:
            best = Smoothing(factors, found, plain)
    return best


def smooth_products(
    graph: onnx.GraphProto, directory: Path, activations: Mapping[str, Activations]
) -> dict[str, Smoothing]:
    """Return how the products of a graph in float32 are smoothed best, by their activations."""
    weights: dict[str, list[NDArray[np.float32]]] = {}
    for product in find_products(graph):
        weights.setdefault(product.activations, []).append(product.read_weight(directory))
    return {
        name: choose_smoothing(activations[name], np.concatenate(each, axis=1))
        for name, each in weights.items()
    }


def divide_activations(
    graph: onnx.GraphProto, directory: Path, smoothing: Mapping[str, Smoothing]
) -> dict[str, NDArray[np.float32]]:
    """Divide activations by their factors, in place: in the layer norm before, if there is one.

    Args:
        graph: A graph in float32; until the weights of its products with these activations are
            multiplied by the factors, it computes something else.
        directory: Where its tensors are.
        smoothing: By the activations' names.

    Returns:
        The factors, shape (K,), by the names of what those products get now.
    """
    factors = {name: each.factors for name, each in smoothing.items() if each.factors is not None}
    products = {product.node.output[0] for product in find_products(graph)}
    stored = {tensor.name: tensor for tensor in graph.initializer} | stored_sources(graph)
    divided, nodes = {}, []
    for node in graph.node:
        nodes.append(node)
        for name in _reached(graph, node, products) if node.op_type == _NORM else ():
            if name in factors:
                for place in range(1, len(node.input)):  # gain and, where it has one, bias
                    new = f"{node.output[0]}.{place}"
                    values = read_tensor(stored[node.input[place]], directory)
                    values = (values.astype(np.float32) / factors[name]).astype(np.float32)
                    graph.initializer.append(onnx.numpy_helper.from_array(values, new))
                    node.input[place] = new
                divided[name] = factors[name]
    for name in sorted(factors.keys() - divided.keys()):
        if not smoothing[name].is_worth_a_division:
            continue
        reciprocal, result = f"{name}.reciprocal", f"{name}{_DIVIDED}"
        graph.initializer.append(onnx.numpy_helper.from_array(1 / factors[name], reciprocal))
        users = [node for node in nodes if node.output[0] in products and node.input[0] == name]
        for node in users:
            node.input[0] = result
        nodes.insert(nodes.index(users[0]), helper.make_node("Mul", [name, reciprocal], [result]))
        divided[result] = factors[name]
    replace_nodes(graph, nodes)
    return divided


def divided_ranges(
    activations: Mapping[str, Activations], factors: Mapping[str, NDArray[np.float32]]
) -> dict[str, tuple[float, float]]:
    """Look up the ends of the range of what products get once it is divided.

    Args:
        activations: What was recorded.
        factors: What :func:`divide_activations` returned.

    Returns:
        The least and the largest, by the names of what products get.
    """
    ranges = {}
    for original, seen in activations.items():
        for name in (original, f"{original}{_DIVIDED}"):
            factor = factors.get(name, np.float32(1))
            ends = (seen.least / factor).min(), (seen.largest / factor).max()
            ranges[name] = float(ends[0]), float(ends[1])
    return ranges


def _reached(graph: onnx.GraphProto, norm: onnx.NodeProto, products: set[str]) -> list[str]:
    """Return the name under which products, and nothing else, get the result of a layer norm."""
    name = norm.output[0]
    while True:
        users = [node for node in graph.node if name in node.input]
        if users and all(node.output[0] in products for node in users):
            return [name]
        if len(users) != 1 or not _keeps_channels(users[0]):
            return []
        name = users[0].output[0]


def _keeps_channels(node: onnx.NodeProto) -> bool:
    """Return whether a node only moves values, and none to another channel."""
    if node.op_type != "Transpose":
        return False
    order = helper.get_node_attr_value(node, "perm")
    return bool(order[-1] == len(order) - 1)


def _at_least(magnitudes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return magnitudes without those next to nothing, which would ask for huge factors."""
    least = _LEAST * magnitudes.max()
    return np.maximum(magnitudes, least if least > 0 else 1)
