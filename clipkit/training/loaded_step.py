"""A step on what the loader brings: to the device, with the teacher's features, then backward."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clipkit.training.pair_batches import LoadedBatch
from clipkit.training.step import ContrastiveStep
from clipkit.training.teacher import Teacher


@dataclass(frozen=True)
class LoadedStep:
    """Leaves the gradient of a loaded batch."""

    step: ContrastiveStep
    device: torch.device
    layout: torch.memory_format = torch.contiguous_format  # of pictures, as the tower likes it
    teacher: Teacher | None = None

    def backward(self, batch: LoadedBatch) -> Mapping[str, Tensor]:
        """Return the loss and its parts as scalars without gradient.

        Args:
            batch: This process's share, as the loader brings it.

        Returns:
            "loss" and its parts.
        """
        pairs = batch.batch
        if self.teacher is not None:
            assert batch.teacher_levels is not None  # the loader was told of the teacher
            features = self.teacher.features(batch.teacher_levels, batch.captions)
            pairs = replace(pairs, teacher=features)
        if pairs.levels is not None:
            pairs = replace(pairs, levels=pairs.levels.contiguous(memory_format=self.layout))
        return self.step.backward(pairs.to(self.device))
