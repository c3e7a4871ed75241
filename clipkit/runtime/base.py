"""The interface of an engine: the two towers as functions from arrays to features.

Shapes: B inputs, S image size, L context length, D dimensions of the shared space.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from clipkit.models.checkpoint import Layout
    from clipkit.models.open_clip_towers import OpenClipTowers


@dataclass(frozen=True)
class Scoring:
    """How a checkpoint turns cosines into logits, as it was trained: scale x cosine + bias."""

    log_scale: float  # natural log of the scale, as checkpoints store it under "logit_scale"
    logit_bias: float | None = None  # present in checkpoints trained with the sigmoid loss

    @property
    def logit_scale(self) -> float:
        """What cosines are multiplied by, which is 1 / temperature."""
        return float(np.exp(self.log_scale))

    @property
    def is_sigmoid(self) -> bool:
        """Whether each label is scored on its own (sigmoid) and not against the others."""
        return self.logit_bias is not None


class Runtime(Protocol):
    """Two towers on one engine, on one device, in one precision."""

    @property
    def engine(self) -> str:
        """Name of the engine: "onnx", "openvino" or "torch"."""

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

    @property
    def may_weights_change(self) -> bool:
        """Whether the weights were handed out: space_id need not be theirs from then on."""

    def have_weights_changed(self) -> bool:
        """Return whether the weights are others than when they were handed out."""

    @property
    def image_batch(self) -> int:
        """How many images a call of image_features should have, of a stream of them."""

    @property
    def image_workers(self) -> int:
        """How many threads may call image_features at once with a gain, at least 1."""

    def image_features(self, pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return image features of any norm, shape (B, D), for pixel values (B, 3, S, S)."""

    def text_features(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return text features of any norm, shape (B, D), for token ids (B, L)."""


@runtime_checkable
class OneThreadRuntime(Runtime, Protocol):
    """A runtime that can compute a call in the thread that makes it.

    What a call gives then depends on its images alone, not on how many cores there are.
    """

    @property
    def images_a_thread(self) -> int:
        """How many images such a call should have."""

    def features_in_one_thread(self, pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return image features of any norm, shape (B, D), for pixel values (B, 3, S, S), B > 0."""


@runtime_checkable
class RuntimeWithTowers(Runtime, Protocol):
    """A runtime that has the towers at hand: their modules, inner features and weights."""

    def open_clip_towers(self) -> "OpenClipTowers":
        """Return open_clip's own modules, those that it computes with."""

    def token_features(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return one feature a token, shape (B, L, W), for token ids (B, L). W: tower width."""

    def patch_features(self, pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return one feature a patch, shape (B, P, W), for pixel values (B, 3, S, S)."""

    def save(self, directory: Path, *, tokenizer_json: str, layout: "Layout" = "open_clip") -> None:
        """Write the towers as a checkpoint directory."""


def trim_padding(token_ids: NDArray[np.int64], padding_id: int | None) -> NDArray[np.int64]:
    """Return token ids without the columns at the end that hold nothing but padding.

    Args:
        token_ids: Shape (B, L).
        padding_id: What the text tower takes no notice of at the end of a row; None: there is no
            such id, and rows stay whole.

    Returns:
        Shape (B, length of the longest row), at least two columns where there are two: a text has a
        start and an end, and compiled graphs are made for no less.
    """
    if padding_id is None:
        return token_ids
    used = np.flatnonzero((token_ids != padding_id).any(axis=0))
    return token_ids[:, : max(int(used[-1]) + 1 if len(used) else 0, 2)]
