"""Batches of cached features and texts: each a function of the seed and its number.

Shapes: B pairs, P photo-like features, C = 1000 classes, H concepts of a step, F = 1280 features.
"""

from __future__ import annotations

import itertools
from collections import abc
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from recipe.concepts import Concepts
from recipe.pairs import COMPOSITE, DRAWING, SCENE, Pairs
from recipe.settings import Draws
from recipe.synthetic import FEATURE_LIMIT, SyntheticFeatures


@dataclass(frozen=True)
class TrainingData:
    """Everything that batches are drawn from."""

    pairs: Pairs
    concepts: Concepts
    synthetic: SyntheticFeatures


@dataclass(frozen=True)
class HeadBatch:
    """What a step learns from."""

    pictures: Tensor  # (B, F)
    texts: Tensor  # (B, 384), of the pictures
    picture_concepts: Tensor  # (B,): equal numbers show the same thing
    photographs: Tensor  # (P, F), photo-like features without a text
    class_texts: Tensor  # (C, 384)
    concept_texts: Tensor  # (H, 384)
    concept_members: Tensor  # (H, C): 1 where a class belongs to a concept


class HeadBatches:
    """The batches of a training, for the trainer's loop."""

    def __init__(self, data: TrainingData, draws: Draws, *, batch_size: int, seed: int) -> None:
        """Sort the pictures by kind."""
        self._data = data
        self._draws = draws
        self._batch_size = batch_size
        self._seed = seed
        is_allowed = torch.ones(len(data.pairs.kinds), dtype=torch.bool)
        if draws.leave_out_validation:
            is_allowed = ~data.pairs.is_validation
        self._num_pictures = int(is_allowed.sum())
        self._rows = {
            kind: ((data.pairs.kinds == kind) & is_allowed).nonzero()[:, 0]
            for kind in (DRAWING, COMPOSITE, SCENE)
        }

    @property
    def steps_per_epoch(self) -> int:
        """Batches with as many pictures as there are, though some are drawn twice."""
        return self._num_pictures // self._batch_size

    @property
    def drawings(self) -> Tensor:
        """Features of the drawings that are learned from."""
        return self._data.pairs.features[self._rows[DRAWING]]

    def after(self, step: int) -> abc.Generator[HeadBatch]:
        """Yield the batches that follow the first so many, without end."""
        for number in itertools.count(step):
            state = np.random.SeedSequence([self._seed, number]).generate_state(1)
            yield self._draw(Generator().manual_seed(int(state[0])))

    def _draw(self, random: Generator) -> HeadBatch:
        pairs, concepts = self._data.pairs, self._data.concepts
        pictures = self._draw_pictures(random)
        drawn = torch.randperm(len(concepts.members), generator=random)
        drawn = drawn[: self._draws.concepts_per_step]
        return HeadBatch(
            pictures=self._disturb(pairs.features[pictures], random),
            texts=self._draw_texts(pictures, random),
            picture_concepts=pairs.concepts[pictures],
            photographs=self._draw_photo_like(random),
            class_texts=concepts.draw_class_prompts(random),
            concept_texts=concepts.draw_prompts(drawn, random),
            concept_members=concepts.members[drawn],
        )

    def _draw_pictures(self, random: Generator) -> Tensor:
        num_composites = int(self._batch_size * self._draws.composites)
        num_scenes = int(self._batch_size * self._draws.scenes)
        num_drawings = self._batch_size - num_composites - num_scenes
        counts = {DRAWING: num_drawings, COMPOSITE: num_composites, SCENE: num_scenes}
        return torch.cat(
            [_draw_rows(self._rows[kind], count, random) for kind, count in counts.items()]
        )

    def _disturb(self, features: Tensor, random: Generator) -> Tensor:
        """Return features with another contrast and with noise, within the trunk's range."""
        scaled = features * _draw_contrast(len(features), random)
        noise = torch.randn(features.shape, generator=random) * self._data.pairs.deviation
        return (scaled + self._draws.feature_noise * noise).clamp(0, FEATURE_LIMIT)

    def _draw_texts(self, pictures: Tensor, random: Generator) -> Tensor:
        pairs = self._data.pairs
        is_tag = torch.rand(len(pictures), generator=random) < self._draws.tags
        tags, captions = pairs.tags.draw(pictures, random), pairs.captions.draw(pictures, random)
        return pairs.texts[torch.where(is_tag, tags, captions)]

    def _draw_photo_like(self, random: Generator) -> Tensor:
        """Return synthetic features; a quarter is blended with crops, a quarter is only crops."""
        num_crops = self._batch_size // 4
        crops = _draw_rows(self._data.pairs.crops, num_crops, random)
        crops = crops * _draw_contrast(num_crops, random)
        synthetic = self._data.synthetic.draw(self._batch_size - num_crops, random)
        share = torch.rand(num_crops, 1, generator=random) ** 2
        blended = synthetic[:num_crops] * (1 - share) + share * crops
        return torch.cat([blended, synthetic[num_crops:], crops])


def _draw_rows(rows: Tensor, count: int, random: Generator) -> Tensor:
    return rows[torch.randint(len(rows), (count,), generator=random)]


def _draw_contrast(count: int, random: Generator) -> Tensor:
    return 0.8 + 0.4 * torch.rand(count, 1, generator=random)
