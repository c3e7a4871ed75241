"""Compiling towers in 8 bits: smoothed, and with the worst products left in float32 if need be."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from clipkit.progress import StepProgress
from clipkit.runtime.base import Runtime, trim_padding
from clipkit.runtime.bundle import Bundle, graph_name
from clipkit.runtime.channels_first import put_channels_first
from clipkit.runtime.fixed_ranges import fix_ranges
from clipkit.runtime.gate import Inputs, admit, open_unmeasured
from clipkit.runtime.onnx_graph import find_products
from clipkit.runtime.optimized_graph import optimize_graph
from clipkit.runtime.parity import ReferenceEmbeddings, compare, embed_images, embed_texts
from clipkit.runtime.quantize import quantize_products
from clipkit.runtime.smoothing import (
    Activations,
    Smoothing,
    divide_activations,
    divided_ranges,
    record_activations,
    smooth_products,
)

LEAST_SHARE = 0.5  # of the multiplications, in products in 8 bits: with less, little is gained
_CALLS = 16  # that show what products get


def compile_int8(
    bundle: Bundle,
    graphs: Mapping[str, onnx.ModelProto],
    directory: Path,
    original: ReferenceEmbeddings,
    inputs: Inputs,
    tell: StepProgress,
) -> Bundle:
    """Compile the towers of a bundle in 8 bits.

    A tower whose embeddings are too far from the original's gets products in float32: first none,
    then the one with the largest error of its own, then two, four and so on.

    Args:
        bundle: A bundle that has graphs in float32.
        graphs: These, by tower; they are left as they are.
        directory: Where the bundle is being compiled.
        original: Embeddings of the reference inputs by the towers in float32 on torch.
        inputs: The reference inputs.
        tell: Called with a word or two before each step.

    Returns:
        The bundle with graphs in 8 bits, or with why they were refused.
    """
    kept = {}
    for tower, graph in graphs.items():
        tell(f"rounding the {tower} tower to 8 bits")
        calls = _calls(tower, inputs, bundle.padding_id)
        activations = record_activations(graph, directory, calls)
        smoothing = smooth_products(graph.graph, directory, activations)
        for names in _more_and_more(graph.graph, smoothing):
            _write_rounded(tower, graph, directory, activations, smoothing, names)
            if _is_close(tower, open_unmeasured(bundle, "int8", directory), original, inputs):
                break
        else:  # what stays in float32 does not save it
            _write_rounded(tower, graph, directory, activations, smoothing, names := [])
        products = find_products(graph.graph)
        kept[tower] = [each.weight.name for each in products if each.activations in names]
    bundle = admit(bundle, "int8", directory, original, inputs)
    if "int8" in bundle.refused:
        for path in directory.glob("*.int8.*"):
            path.unlink()
        return bundle
    return dataclasses.replace(
        bundle, kept={tower: names for tower, names in kept.items() if names}
    )


def _calls(tower: str, inputs: Inputs, padding_id: int | None) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield some of the reference inputs of a tower, one a call, as a search gives them to it.

    A black and a white image come with the photographs: nothing has lower or higher values.
    """
    pixel_values, token_ids = inputs
    if tower == "image":
        ends = pixel_values.min(axis=(0, 2, 3)), pixel_values.max(axis=(0, 2, 3))
        plain = [np.broadcast_to(end[:, None, None], pixel_values.shape[1:]) for end in ends]
        for one in [*pixel_values[:: -(-len(pixel_values) // _CALLS)], *plain]:
            yield {"pixel_values": np.ascontiguousarray(one[None])}
    else:
        for row in token_ids[:: -(-len(token_ids) // _CALLS)]:
            yield {"token_ids": trim_padding(row[None], padding_id)}


def _more_and_more(
    graph: onnx.GraphProto, smoothing: Mapping[str, Smoothing]
) -> Iterator[list[str]]:
    """Yield the activations whose products stay in float32: none, the worst, the two worst, ..."""
    sizes: dict[str, int] = {}
    for product in find_products(graph):
        size = math.prod(product.weight.dims)  # multiplications for each row
        sizes[product.activations] = sizes.get(product.activations, 0) + size
    worst = sorted(smoothing, key=lambda name: -smoothing[name].error)
    number = 0
    while sum(sizes[name] for name in worst[:number]) <= (1 - LEAST_SHARE) * sum(sizes.values()):
        yield worst[:number]
        number = max(1, 2 * number)


def _write_rounded(
    tower: str,
    graph: onnx.ModelProto,
    directory: Path,
    activations: Mapping[str, Activations],
    smoothing: Mapping[str, Smoothing],
    kept: list[str],
) -> None:
    """Write a tower in 8 bits, but for the products of the activations that are kept.

    Of the image tower there is a second graph, for OpenVINO, beside the same weights.
    """
    rounded = onnx.ModelProto.FromString(graph.SerializeToString())
    others = {name: each for name, each in smoothing.items() if name not in kept}
    factors = divide_activations(rounded.graph, directory, others)
    data = f"{tower}_tower.int8.bin"
    quantize_products(rounded.graph, directory, data, factors=factors, kept=kept)
    path = directory / graph_name(tower, "int8")
    path.write_bytes(rounded.SerializeToString())
    if tower == "text":
        optimize_graph(path)
    else:
        fix_ranges(rounded.graph, divided_ranges(activations, factors))
        put_channels_first(rounded.graph)
        (directory / graph_name(tower, "int8.fixed")).write_bytes(rounded.SerializeToString())


def _is_close(tower: str, runtime: Runtime, original: ReferenceEmbeddings, inputs: Inputs) -> bool:
    """Return whether a tower is close enough for an automatic choice, with the other as it is."""
    if tower == "image":
        found = dataclasses.replace(original, images=embed_images(runtime, inputs[0]))
    else:
        found = dataclasses.replace(original, texts=embed_texts(runtime, inputs[1]))
    parity = compare(original, found)
    # The other tower shifts scores as well, and shifts add up as squares.
    return dataclasses.replace(parity, score_shift=math.sqrt(2) * parity.score_shift).is_close
