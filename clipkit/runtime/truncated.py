"""The first dimensions of a model's embeddings, as a space of their own (Matryoshka).

Shapes: B inputs, S image size, L context length, D dimensions of the whole space, K of which are
kept.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import check_whole
from clipkit.errors import InputError
from clipkit.runtime.base import Runtime, Scoring


class TruncatedRuntime:
    """A runtime that keeps the first dimensions of what another one computes.

    Args:
        whole: The runtime that computes.
        truncate_dim: K, 1 to D.

    Raises:
        InputError: If K is no such number.

    Source:
        A. Kusupati et al., "Matryoshka Representation Learning", 2022.
    """

    def __init__(self, whole: Runtime, truncate_dim: int) -> None:
        self.embed_dim = check_whole(truncate_dim, "truncate_dim")
        if self.embed_dim > whole.embed_dim:
            raise InputError(
                f"truncate_dim must be at most {whole.embed_dim}, which is what there is, got "
                f"{truncate_dim}"
            )
        # A prefix of a prefix is one of the whole, and of its space.
        self.whole: Runtime = whole.whole if isinstance(whole, TruncatedRuntime) else whole

    @property
    def engine(self) -> str:
        """Name of the engine: "onnx", "openvino" or "torch"."""
        return self.whole.engine

    @property
    def device(self) -> str:
        """Where it computes, as torch spells it."""
        return self.whole.device

    @property
    def precision(self) -> str:
        """Number format of the computation."""
        return self.whole.precision

    @property
    def space_id(self) -> str:
        """Identity of the space of the first K dimensions: a hash of the whole space's and K."""
        if self.embed_dim == self.whole.embed_dim:
            return self.whole.space_id
        text = f"{self.whole.space_id} first {self.embed_dim}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def scoring(self) -> Scoring:
        """How cosines become logits: as those of the whole space."""
        return self.whole.scoring

    @property
    def may_weights_change(self) -> bool:
        """Whether the weights were handed out, by whichever encoder computes with them."""
        return self.whole.may_weights_change

    def have_weights_changed(self) -> bool:
        """Return whether the weights are others than when they were handed out."""
        return self.whole.have_weights_changed()

    @property
    def image_batch(self) -> int:
        """How many images a call of image_features should have, of a stream of them."""
        return self.whole.image_batch

    @property
    def image_workers(self) -> int:
        """How many threads may call image_features at once with a gain, at least 1."""
        return self.whole.image_workers

    def image_features(self, pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return image features of any norm, shape (B, K), for pixel values (B, 3, S, S)."""
        return self.whole.image_features(pixel_values)[:, : self.embed_dim]

    def text_features(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return text features of any norm, shape (B, K), for token ids (B, L)."""
        return self.whole.text_features(token_ids)[:, : self.embed_dim]
