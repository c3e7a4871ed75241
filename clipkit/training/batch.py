"""A training batch: the image-text pairs of one rank as tensors.

Shapes: B pairs of one rank, L tokens, S image size, D dimensions of the shared space.
"""

import hashlib
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipkit.errors import InputError
from clipkit.inputs.preprocess import Preprocess


@dataclass(frozen=True)
class TeacherFeatures:
    """A teacher's features of the same pairs, without gradient. D is that of its own space."""

    image_features: Tensor  # (B, D), any norm
    text_features: Tensor  # (B, D), any norm


@dataclass(frozen=True)
class Batch:
    """One rank's part of the global batch.

    Each side comes either as the input of its tower or, if the tower is frozen and its inputs are
    the same in every epoch, as the features that it gave once.
    """

    # Two pairs with one of both in common are positives of each other, and no negatives.
    caption_keys: Tensor  # (B,) int64; equal where captions are equal, as the model reads them
    image_keys: Tensor  # (B,) int64; equal where it is the same image, or one of the same class
    token_ids: Tensor | None = None  # (B, L) int64, trimmed as Towers.padding_id allows
    text_features: Tensor | None = None  # (B, D), any norm
    images: Tensor | None = None  # (B, 3, S, S) uint8, levels 0..255; see `standardize`
    image_features: Tensor | None = None  # (B, D), any norm
    teacher: TeacherFeatures | None = None

    def __post_init__(self) -> None:
        """Check that both sides are there, once, for all pairs.

        Raises:
            InputError: If a side is missing or there twice, or sizes differ.
        """
        if (self.token_ids is None) == (self.text_features is None):
            raise InputError("a batch needs either token_ids or text_features")
        if (self.images is None) == (self.image_features is None):
            raise InputError("a batch needs either images or image_features")
        sizes = {name: len(tensor) for name, tensor in self._tensors().items()}
        if len(set(sizes.values())) > 1:
            raise InputError(f"the parts of a batch must have one row for each pair, got {sizes}")

    def __len__(self) -> int:
        """Return B, the number of pairs."""
        return len(self.caption_keys)

    @property
    def device(self) -> torch.device:
        """The device of its tensors."""
        return self.caption_keys.device

    def chunks(self, size: int) -> list["Batch"]:
        """Return the batch in chunks of at most ``size`` pairs, in order."""
        return [self._rows(start, start + size) for start in range(0, len(self), size)]

    def to(
        self, device: torch.device, layout: torch.memory_format = torch.preserve_format
    ) -> "Batch":
        """Return the batch on a device.

        Args:
            device: The device.
            layout: Memory format of the images.

        Returns:
            The same pairs.
        """
        teacher = self.teacher and TeacherFeatures(
            self.teacher.image_features.to(device, non_blocking=True),
            self.teacher.text_features.to(device, non_blocking=True),
        )
        tensors = self._tensors()
        if self.images is not None and layout is not torch.preserve_format:
            tensors["images"] = self.images.contiguous(memory_format=layout)
        moved = {name: t.to(device, non_blocking=True) for name, t in tensors.items()}
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


def text_keys(token_ids: NDArray[np.int64]) -> Tensor:
    """Return numbers of 64 bits that equal texts share, in every process.

    Args:
        token_ids: Of each text, padded to one length that is always the same, shape (B, L): texts
            of equal token ids are the same to the model.

    Returns:
        int64, shape (B,).
    """
    return torch.tensor([_key(np.ascontiguousarray(row, dtype="<i8").data) for row in token_ids])


def class_key(name: str) -> int:
    """Return a number of 64 bits for a class, the same in every process."""
    return _key(b"class " + name.encode("utf-8", "surrogatepass"))


def _key(content: bytes | memoryview) -> int:
    digest = hashlib.blake2b(content, digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def standardize(images: Tensor, preprocess: Preprocess) -> Tensor:
    """Return images as an image tower takes them, bit for bit as ``preprocess`` does.

    Args:
        images: Images of the tower's size, levels 0..255, shape (B, 3, S, S).
        preprocess: The tower's; its mean and standard deviation are taken.

    Returns:
        Pixel values in float32, on the device and in the memory format of the images.
    """
    mean, std = (
        torch.tensor(values, dtype=torch.float32, device=images.device)[:, None, None]
        for values in (preprocess.mean, preprocess.std)
    )
    return images.float().div_(255).sub_(mean).div_(std)
