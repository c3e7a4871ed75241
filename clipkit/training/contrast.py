"""Pairs set against each other: the logits of one process's rows against those of all processes.

Shapes: B pairs of one process, N pairs of all processes, D dimensions, R <= B rows at once.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

from clipkit.training.ranks import Ranks


@dataclass(frozen=True)
class Contrast:
    """Features of a process's pairs and of all pairs, and what makes logits of their cosines."""

    images: Tensor  # (B, D), any norm
    texts: Tensor  # (B, D), any norm
    all_images: Tensor  # (N, D)
    all_texts: Tensor  # (N, D)
    scale: Tensor | float  # multiplier of cosines
    bias: Tensor | None = None

    @classmethod
    def gather(
        cls,
        features: tuple[Tensor, Tensor],
        logit_scale: Tensor,
        logit_bias: Tensor | None,
        ranks: Ranks,
    ) -> "Contrast":
        """Return the contrast of features with those of all processes, in full precision.

        Args:
            features: Of pictures and of texts, each (B, D), any norm.
            logit_scale: Natural log of the multiplier of cosines, shape ().
            logit_bias: What is added to logits, shape (), or None.
            ranks: The processes.

        Returns:
            In float32, or in float64 if that is what comes in.
        """
        images, texts = (_full(part) for part in features)
        bias = None if logit_bias is None else _full(logit_bias)
        all_images = ranks.gather_with_gradient(images)
        all_texts = ranks.gather_with_gradient(texts)
        return cls(images, texts, all_images, all_texts, _full(logit_scale).exp(), bias)

    @property
    def dim(self) -> int:
        """D."""
        return self.images.shape[1]

    def embeddings(self, dim: int) -> "Contrast":
        """Return the contrast of the first so many coordinates, every row brought to norm 1."""
        return Contrast(
            normalize(self.images[:, :dim], dim=-1),
            normalize(self.texts[:, :dim], dim=-1),
            normalize(self.all_images[:, :dim], dim=-1),
            normalize(self.all_texts[:, :dim], dim=-1),
            self.scale,
            self.bias,
        )

    def logits_per_image(self, images: Tensor) -> Tensor:
        """Return logits of image embeddings (R, D) with all texts, shape (R, N)."""
        return self._logits(images, self.all_texts)

    def logits_per_text(self, texts: Tensor) -> Tensor:
        """Return logits of text embeddings (R, D) with all pictures, shape (R, N)."""
        return self._logits(texts, self.all_images)

    def _logits(self, rows: Tensor, columns: Tensor) -> Tensor:
        logits = self.scale * (rows @ columns.T)
        return logits if self.bias is None else logits + self.bias


def sum_over_rows(
    loss_of: Callable[..., Tensor], rows: tuple[Tensor, ...], row_chunk: int
) -> Tensor:
    """Return the sum of a loss over rows, of which only some are in memory as logits.

    Args:
        loss_of: Takes the same rows of each tensor and returns the sum of their losses.
        rows: Tensors whose first dimension is B.
        row_chunk: How many rows at once; what they leave for the gradient is computed again
            when it is needed. 0: all, and nothing is computed twice.

    Returns:
        Shape ().
    """
    if not 0 < row_chunk < len(rows[0]):
        return loss_of(*rows)
    parts = [
        checkpoint(loss_of, *part, use_reentrant=False, preserve_rng_state=False)
        for part in zip(*(torch.split(tensor, row_chunk) for tensor in rows), strict=True)
    ]
    return torch.stack(parts).sum()


def _full(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
