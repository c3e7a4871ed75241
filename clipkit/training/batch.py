"""A training batch: the pairs of one process as tensors.

Shapes: B pairs of one process, L tokens, S image size, D dimensions of the shared space.
"""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from clipkit.errors import InputError
from clipkit.inputs.preprocess import Preprocess


@dataclass(frozen=True)
class TeacherFeatures:
    """What a teacher makes of the same pairs, without gradient. Its D is its own."""

    image_features: Tensor  # (B, D), any norm
    text_features: Tensor  # (B, D), any norm


@dataclass(frozen=True)
class Batch:
    """One process's share of a step.

    Each side comes either as what its tower takes or, if the tower is locked and nothing changes
    from epoch to epoch, as the features it gave once.
    """

    caption_keys: Tensor  # (B,) int64; equal where captions are equal
    image_keys: Tensor  # (B,) int64; equal where it is the same image
    token_ids: Tensor | None = None  # (B, L) int64, trimmed as Towers.padding_id allows
    text_features: Tensor | None = None  # (B, D), any norm
    levels: Tensor | None = None  # (B, 3, S, S) uint8: images, to be standardised by the towers
    image_features: Tensor | None = None  # (B, D), any norm
    teacher: TeacherFeatures | None = None

    def __post_init__(self) -> None:
        """Check that both sides are there, once, for all pairs.

        Raises:
            InputError: If a side is missing or there twice, or sizes differ.
        """
        if (self.token_ids is None) == (self.text_features is None):
            raise InputError("a batch needs either token_ids or text_features")
        if (self.levels is None) == (self.image_features is None):
            raise InputError("a batch needs either levels or image_features")
        sizes = {name: len(tensor) for name, tensor in self._tensors().items()}
        if len(set(sizes.values())) > 1:
            raise InputError(f"the parts of a batch must have one row for each pair, got {sizes}")

    def __len__(self) -> int:
        """How many pairs."""
        return len(self.caption_keys)

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        return self.caption_keys.device

    def chunks(self, size: int) -> list["Batch"]:
        """Return the pairs in order, at most so many at a time."""
        return [self._rows(start, start + size) for start in range(0, len(self), size)]

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        teacher = self.teacher and TeacherFeatures(
            self.teacher.image_features.to(device, non_blocking=True),
            self.teacher.text_features.to(device, non_blocking=True),
        )
        moved = {name: t.to(device, non_blocking=True) for name, t in self._tensors().items()}
        return replace(self, teacher=teacher, **moved)

    def _rows(self, start: int, stop: int) -> "Batch":
        teacher = self.teacher and TeacherFeatures(
            self.teacher.image_features[start:stop], self.teacher.text_features[start:stop]
        )
        parts = {name: tensor[start:stop] for name, tensor in self._tensors().items()}
        return replace(self, teacher=teacher, **parts)

    def _tensors(self) -> dict[str, Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def standardize(levels: Tensor, preprocess: Preprocess) -> Tensor:
    """Return images as an image tower takes them, bit for bit as ``preprocess`` does.

    Args:
        levels: Images of the tower's size, 0..255, shape (B, 3, S, S).
        preprocess: The tower's.

    Returns:
        Pixel values in float32, where and in the layout in which the levels lie.
    """
    mean, std = (
        torch.tensor(values, dtype=torch.float32, device=levels.device)[:, None, None]
        for values in (preprocess.mean, preprocess.std)
    )
    return levels.float().div_(255).sub_(mean).div_(std)
