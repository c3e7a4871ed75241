"""The gate that graphs pass before they are used: their embeddings beside those of the original."""

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit.runtime.bundle import Bundle, Parity, Refusal, write_manifest
from clipkit.runtime.onnx_runtime import OnnxRuntime
from clipkit.runtime.parity import ReferenceEmbeddings, compare, embed

Inputs = tuple[NDArray[np.float32], NDArray[np.int64]]  # pixel values and token ids


def admit(
    bundle: Bundle, precision: str, directory: Path, original: ReferenceEmbeddings, inputs: Inputs
) -> Bundle:
    """Measure a precision of a bundle that is being compiled.

    Args:
        bundle: What is known of the bundle.
        precision: Whose graphs lie in the directory.
        directory: Where the bundle is being compiled; its manifest is written.
        original: Embeddings of the reference inputs by the towers in float32 on torch.
        inputs: The reference inputs.

    Returns:
        The bundle with the precision among those it has, or refused.
    """
    parity = compare(original, embed(open_unmeasured(bundle, precision, directory), *inputs))
    if parity.passes(precision):
        return dataclasses.replace(bundle, precisions={**bundle.precisions, precision: parity})
    refusal = Refusal(f"too far from the original: {parity}", parity)
    return dataclasses.replace(bundle, refused={**bundle.refused, precision: refusal})


def open_unmeasured(bundle: Bundle, precision: str, directory: Path) -> OnnxRuntime:
    """Open graphs of which it is not known yet how close they come."""
    unmeasured = Parity(0, 0, *[0.0] * 7)
    trial = dataclasses.replace(bundle, precisions={**bundle.precisions, precision: unmeasured})
    write_manifest(trial, directory)
    return OnnxRuntime(directory, precision)
