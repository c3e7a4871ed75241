"""Compile a checkpoint directory for ONNX Runtime, and refuse what does not match the original.

Shapes: B inputs, D dimensions of the shared space.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clipkit.embeddings import normalize_rows
from clipkit.errors import CheckpointError, InputError
from clipkit.inputs.images import ImageInput
from clipkit.inputs.preprocess import Preprocess
from clipkit.inputs.tokenizer import Tokenizer, tokenizer_digest
from clipkit.models.checkpoint import load_towers
from clipkit.models.sources import resolve_source
from clipkit.models.towers import Towers
from clipkit.runtime.base import Scoring
from clipkit.runtime.bundle import (
    IMAGE_TOWER,
    MANIFEST,
    TEXT_TOWER,
    Bundle,
    Parity,
    sha256_of,
)
from clipkit.runtime.graphs import borrow_weights, export_graph, fold_batch_norms
from clipkit.runtime.onnx_runtime import OnnxRuntime

WEIGHTS = "open_clip_model.safetensors"
LOWEST_MEAN_COSINE = 0.999  # the gate; float32 graphs come out at 1 - 1e-6


class _ImageTower(nn.Module):
    def __init__(self, towers: Towers) -> None:
        super().__init__()
        self.towers = towers

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.towers.image_features(pixel_values)


class _TextTower(nn.Module):
    def __init__(self, towers: Towers) -> None:
        super().__init__()
        self.towers = towers

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        return self.towers.text_features(token_ids)


def compile_directory(
    directory: Path, *, pictures: Sequence[ImageInput], texts: Sequence[str]
) -> Parity:
    """Write the graphs and the manifest of a bundle into a checkpoint directory.

    Args:
        directory: A checkpoint in open_clip's layout, with its weights as safetensors.
        pictures: Real pictures that graphs and original are compared on, at least one.
        texts: Real texts for the same, at least one.

    Returns:
        The measured parity.

    Raises:
        InputError: If there is nothing to compare on.
        CheckpointError: If the graphs are further from the original than the gate allows; the
            directory is then left as it was.
    """
    if not pictures or not texts:
        raise InputError("compiling needs at least one picture and one text to compare on")
    towers = load_towers(resolve_source(directory))
    text_cfg = towers.model_cfg["text_cfg"]
    preprocess = Preprocess.from_config(towers.preprocess_cfg, towers.image_size)
    tokenizer = Tokenizer.from_config(text_cfg, towers.tokenizer_source)
    bundle = Bundle(
        space_id=towers.space_id(tokenizer_digest(text_cfg, towers.tokenizer_source)),
        embed_dim=towers.embed_dim,
        scoring=Scoring(towers.logit_scale, towers.logit_bias),
        weights=WEIGHTS,
        weights_sha256=sha256_of(directory / WEIGHTS),
        parity=Parity(0, 0, 0.0, 0.0, 0.0, 0.0),  # until it is measured
        # A tower from transformers masks its padding; others see it and need the full length.
        padding_id=tokenizer.pad_id if text_cfg.get("hf_model_name") else None,
    )
    pixel_values = np.stack([preprocess.pixel_values(picture) for picture in pictures])
    token_ids = tokenizer(texts)

    graphs = {
        IMAGE_TOWER: export_graph(
            _ImageTower(towers).eval(),
            torch.from_numpy(pixel_values[[0, -1]]),
            input_name="pixel_values",
            dynamic={0: "batch"},
        ),
        TEXT_TOWER: export_graph(
            _TextTower(towers).eval(),
            torch.from_numpy(token_ids[[0, -1]]),
            input_name="token_ids",
            dynamic={0: "batch"} if bundle.padding_id is None else {0: "batch", 1: "length"},
        ),
    }
    with TemporaryDirectory(prefix=".compile-", dir=directory) as temporary:
        draft = Path(temporary)
        for name, graph in graphs.items():
            fold_batch_norms(graph.graph)
            inside = borrow_weights(graph.graph, directory / WEIGHTS, prefix="towers.model.")
            assert not any(name.startswith("towers.model.") and "weight" in name for name in inside)
            (draft / name).write_bytes(graph.SerializeToString())
        # The graphs only find their weights in their own directory.
        (draft / WEIGHTS).hardlink_to(directory / WEIGHTS)
        (draft / MANIFEST).write_text(bundle.to_json(), encoding="utf-8")
        parity = _measure_parity(OnnxRuntime(draft), towers, pixel_values, token_ids)
        bundle = dataclasses.replace(bundle, parity=parity)
        (draft / MANIFEST).write_text(bundle.to_json(), encoding="utf-8")
        for name in graphs:
            (draft / name).replace(directory / name)
        (draft / MANIFEST).replace(directory / MANIFEST)
    return parity


def _measure_parity(
    runtime: OnnxRuntime,
    towers: Towers,
    pixel_values: NDArray[np.float32],
    token_ids: NDArray[np.int64],
) -> Parity:
    """Return how close a runtime comes to the towers; refuse what is below the gate."""
    with torch.inference_mode():
        images = _cosines(
            np.concatenate([runtime.image_features(one[None]) for one in pixel_values]),
            towers.image_features(torch.from_numpy(pixel_values)).numpy(),
        )
        texts = _cosines(
            np.concatenate([runtime.text_features(one[None]) for one in token_ids]),
            towers.text_features(torch.from_numpy(token_ids)).numpy(),
        )
    parity = Parity(
        num_pictures=len(images),
        num_texts=len(texts),
        mean_image_cosine=float(images.mean()),
        lowest_image_cosine=float(images.min()),
        mean_text_cosine=float(texts.mean()),
        lowest_text_cosine=float(texts.min()),
    )
    if min(parity.mean_image_cosine, parity.mean_text_cosine) < LOWEST_MEAN_COSINE:
        raise CheckpointError(
            f"the compiled towers do not match the original: mean cosine "
            f"{parity.mean_image_cosine:.5f} for pictures and {parity.mean_text_cosine:.5f} for "
            f"texts, at least {LOWEST_MEAN_COSINE} is needed"
        )
    return parity


def _cosines(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosine of each row of one matrix to the same row of the other, shape (B,)."""
    left, right = normalize_rows(first), normalize_rows(second)
    cosines: NDArray[np.float64] = np.einsum("nd,nd->n", left, right, dtype=np.float64)
    return cosines
