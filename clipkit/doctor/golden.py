"""Checks of a compiled model: its files, and what each precision computes here."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from clipkit.doctor.health import HealthCheck
from clipkit.embeddings import Embeddings
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.engines import open_encoder
from clipkit.encoder.text_embedding import UnknownTextWarning
from clipkit.errors import CheckpointError
from clipkit.models.sources import Source
from clipkit.runtime.bundle import GOLDEN_VECTORS, Bundle, Parity, verify
from clipkit.runtime.parity import (
    ReferenceEmbeddings,
    compare,
    reference_digest,
    reference_images,
    reference_texts,
)


def encode_quietly(encoder: Encoder, texts: Sequence[str]) -> Embeddings:
    """Return the embeddings of texts, without a warning of words that the model does not know."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnknownTextWarning)
        return np.asarray(encoder.encode_texts(texts))


def check_bundle_files(directory: Path) -> HealthCheck:
    """Return whether every byte of a compiled model is as it was compiled."""
    try:
        bundle = verify(directory)
    except CheckpointError as error:
        return HealthCheck("compiled files", str(directory), str(error), "problem")
    size = sum(file.size for file in bundle.files.values())
    figure = f"{len(bundle.files)} files, {size:,} bytes, all as they were compiled"
    return HealthCheck("compiled files", str(directory), figure)


def golden_parity(encoder: Encoder, directory: Path) -> Parity | None:
    """Compare what an encoder computes with the golden vectors of a compiled model.

    Args:
        encoder: Of the same model, on any engine and in any precision; without a text cache, or
            else what another process computed is compared.
        directory: The compiled model.

    Returns:
        Cosines and ranks on the reference inputs; None if the golden vectors are of other inputs
        than those of this clipkit.

    Raises:
        CheckpointError: If the golden vectors cannot be read.
    """
    if Bundle.read(directory).reference != reference_digest():
        return None
    computed = ReferenceEmbeddings(
        encoder.encode_images(reference_images()), encode_quietly(encoder, reference_texts())
    )
    return compare(ReferenceEmbeddings.read(directory / GOLDEN_VECTORS), computed)


def check_golden(encoder: Encoder, directory: Path, parity: Parity | None) -> HealthCheck:
    """Return whether an encoder computes what the original did when it was compiled.

    Args:
        encoder: As for :func:`golden_parity`.
        directory: The compiled model.
        parity: What :func:`golden_parity` returned.

    Returns:
        The check.
    """
    name = f"golden vectors, {encoder.precision} on {encoder.engine}"
    where = str(directory / GOLDEN_VECTORS)
    if parity is None:
        figure = "there are none of the inputs that this clipkit compares"
        return HealthCheck(name, where, figure, "remark", "compile the model again")
    if parity.passes(encoder.precision):
        return HealthCheck(name, where, str(parity))
    return HealthCheck(
        name,
        where,
        f"{encoder.precision} on {encoder.engine} is too far from the original: {parity}",
        "problem",
        "files or settings have changed since it was compiled; if on purpose, compile it again",
    )


def check_other_precisions(
    source: Source, encoder: Encoder, directory: Path
) -> Iterator[HealthCheck]:
    """Yield a check for each compiled precision that the encoder does not run in.

    Args:
        source: The model.
        encoder: What was checked already.
        directory: The compiled model.

    Yields:
        Whether it may still be used: another command may choose it.
    """
    for precision in Bundle.read(directory).precisions:
        if encoder.engine == "onnx" and precision == encoder.precision:
            continue
        try:
            other = open_encoder(
                source,
                engine="onnx",
                device="cpu",
                precision=precision,
                cache_dir=None,
                text_cache=None,
            )
            yield check_golden(other, directory, golden_parity(other, directory))
        except CheckpointError as error:
            name = f"golden vectors, {precision} on onnx"
            yield HealthCheck(name, str(directory), str(error), "problem")
