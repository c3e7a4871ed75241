"""A step on what the loader brings: to the device, with the teacher's features, then backward."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clipkit.training.batch import TeacherFeatures
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
    chunk_size: int = 0  # pairs that the teacher sees at once; 0: all

    def backward(self, batch: LoadedBatch) -> Mapping[str, Tensor]:
        """Return the loss and its parts as scalars without gradient.

        Args:
            batch: This process's share, as the loader brings it.

        Returns:
            "loss" and its parts.
        """
        pairs = batch.batch
        if self.teacher is not None:
            pairs = replace(pairs, teacher=self._teach(self.teacher, batch))
        if pairs.levels is not None:
            pairs = replace(pairs, levels=pairs.levels.contiguous(memory_format=self.layout))
        return self.step.backward(pairs.to(self.device))

    def _teach(self, teacher: Teacher, batch: LoadedBatch) -> TeacherFeatures:
        levels, captions = batch.teacher_levels, batch.captions
        assert levels is not None  # the loader was told of the teacher
        size = self.chunk_size or len(captions)
        parts = [
            teacher.features(levels[start : start + size], captions[start : start + size])
            for start in range(0, len(captions), size)
        ]
        return TeacherFeatures(
            torch.cat([part.image_features for part in parts]),
            torch.cat([part.text_features for part in parts]),
        )
