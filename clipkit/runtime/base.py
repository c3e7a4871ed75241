"""What an engine must offer: the two towers as functions from arrays to features.

Shapes: B inputs, S image size, L context length, D dimensions of the shared space.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scoring:
    """How a checkpoint turns cosines into logits, as it was trained."""

    logit_scale: float  # natural log of the multiplier, as checkpoints store it
    logit_bias: float | None = None  # present in checkpoints trained with the sigmoid loss

    @property
    def is_sigmoid(self) -> bool:
        """Whether each label is scored on its own (sigmoid) and not against the others."""
        return self.logit_bias is not None


class Runtime(Protocol):
    """Two towers on one engine, on one device, in one precision."""

    @property
    def engine(self) -> str:
        """Name of the engine: "onnx" or "torch"."""

    @property
    def device(self) -> str:
        """Where it computes, as torch spells it: "cpu", "cuda:0", "mps"."""

    @property
    def precision(self) -> str:
        """Number format of the computation: "fp32", "bf16" or "fp16"."""

    @property
    def embed_dim(self) -> int:
        """D, the size of the shared space."""

    @property
    def space_id(self) -> str:
        """Identity of the space: a hash of weights, config, preprocess and tokenizer."""

    @property
    def scoring(self) -> Scoring:
        """How cosines become logits."""

    def image_features(self, pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return image features of any norm, shape (B, D), for pixel values (B, 3, S, S)."""

    def text_features(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return text features of any norm, shape (B, D), for token ids (B, L)."""


@runtime_checkable
class FineRuntime(Runtime, Protocol):
    """A runtime that has the towers at hand: their inner features, and their weights."""

    def token_features(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return one feature a token, shape (B, L, W), for token ids (B, L). W: tower width."""

    def patch_features(self, pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return one feature a patch, shape (B, P, W), for pixel values (B, 3, S, S)."""

    def save(self, directory: Path, *, tokenizer_json: str) -> None:
        """Write the towers as a checkpoint directory."""
