"""Batches of cached features and texts: each a function of the seed and its number.

Shapes: B pairs, R of them with a picture and S without, P photo-like features, C = 1000 classes,
H concepts of a step, F = 1280 features.
"""

from __future__ import annotations

import itertools
from collections import abc
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from recipe.concepts import Concepts
from recipe.pairs import (
    COLOURED,
    COMPOSITE,
    DRAWING,
    NAMED,
    PAGE,
    PHOTOGRAPH,
    SCENE,
    STYLED,
    TURNED,
    Pairs,
)
from recipe.settings import Draws
from recipe.styled_classes import StyledClasses
from recipe.synthetic import FEATURE_LIMIT, SyntheticFeatures


@dataclass(frozen=True)
class TrainingData:
    """Everything that batches are drawn from."""

    pairs: Pairs
    concepts: Concepts
    synthetic: SyntheticFeatures
    styled_classes: StyledClasses


@dataclass(frozen=True)
class HeadBatch:
    """What a step learns from."""

    rows: Tensor  # (R,) of the pairs' pictures; those that nothing was rendered from come first
    num_plain: int
    features: Tensor  # (R, F), of these pictures
    contrast: Tensor  # (R, 1) and
    noise: Tensor  # (R, F): what disturbs them
    classes: Tensor  # (S, F): ImageNet's classes in styles, made of features only
    texts: Tensor  # (B, 384), of the pictures
    matches: Tensor  # (B, B) bool: whether a text (column) is true of a picture (row)
    photographs: Tensor  # (P, F), photo-like features without a text
    class_texts: Tensor  # (C, 384)
    concept_texts: Tensor  # (H, 384)
    concept_members: Tensor  # (H, C): 1 where a class belongs to a concept

    @property
    def pictures(self) -> Tensor:
        """The features to learn from, within the trunk's range, shape (B = R + S, F)."""
        disturbed = (self.features * self.contrast + self.noise).clamp(0, FEATURE_LIMIT)
        return torch.cat([disturbed, self.classes])


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
            for kind in (DRAWING, COMPOSITE, SCENE, PHOTOGRAPH, PAGE, NAMED)
        }
        self._sets = {
            kind: _Sets.of(((data.pairs.kinds == kind) & is_allowed).nonzero()[:, 0], data.pairs)
            for kind in (STYLED, TURNED, COLOURED)
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
        plain, made = self._draw_plain(random), self._draw_made(random)
        pictures = torch.cat([plain, made])
        texts = torch.cat([self._draw_texts(plain, random), self._draw_made_texts(made, random)])
        is_same = pairs.concepts[pictures][:, None] == pairs.concepts[pictures][None]
        matches = pairs.truths.contain(pictures, texts) | is_same
        classes, captions = self._data.styled_classes.draw(
            self._draws.styled_classes, self._draws.per_set, random
        )
        features = pairs.features[pictures]
        drawn = torch.randperm(len(concepts.members), generator=random)
        drawn = drawn[: self._draws.concepts_per_step]
        return HeadBatch(
            rows=pictures,
            num_plain=len(plain),
            features=features,
            contrast=_draw_contrast(len(pictures), random),
            noise=self._draw_noise(features, random),
            classes=classes,
            texts=torch.cat([pairs.texts[texts], captions]),
            matches=_block_diagonal(matches, torch.eye(len(classes), dtype=torch.bool)),
            photographs=self._draw_photo_like(random),
            class_texts=concepts.draw_class_prompts(random),
            concept_texts=concepts.draw_prompts(drawn, random),
            concept_members=concepts.members[drawn],
        )

    def _draw_plain(self, random: Generator) -> Tensor:
        """Return rows of pictures that nothing was rendered from."""
        draws, size = self._draws, self._batch_size
        counts = {
            COMPOSITE: int(size * draws.composites),
            SCENE: int(size * draws.scenes),
            PHOTOGRAPH: int(size * draws.photographs) if len(self._rows[PHOTOGRAPH]) else 0,
        }
        counts = {DRAWING: size - sum(counts.values()), **counts}
        return torch.cat(
            [_draw_rows(self._rows[kind], count, random) for kind, count in counts.items()]
        )

    def _draw_made(self, random: Generator) -> Tensor:
        """Return rows of rendered pictures, several of each set, beside the plain ones."""
        draws = self._draws
        return torch.cat(
            [
                self._sets[STYLED].draw(draws.styled, draws.per_set, random),
                self._sets[TURNED].draw(draws.turned, draws.per_set, random),
                self._sets[COLOURED].draw(draws.coloured, draws.per_set, random),
                _draw_rows(self._rows[PAGE], draws.pages, random),
                _draw_rows(self._rows[NAMED], draws.named, random),
            ]
        )

    def _draw_noise(self, features: Tensor, random: Generator) -> Tensor:
        noise = torch.randn(features.shape, generator=random) * self._data.pairs.deviation
        return self._draws.feature_noise * noise

    def _draw_texts(self, pictures: Tensor, random: Generator) -> Tensor:
        """Return rows of captions, or of looser words."""
        pairs = self._data.pairs
        is_tag = torch.rand(len(pictures), generator=random) < self._draws.tags
        tags, captions = pairs.tags.draw(pictures, random), pairs.captions.draw(pictures, random)
        return torch.where(is_tag, tags, captions)

    def _draw_made_texts(self, pictures: Tensor, random: Generator) -> Tensor:
        """Return rows of captions that name what is shown and how, or only one of them."""
        pairs, chance = self._data.pairs, torch.rand(len(pictures), generator=random)
        joint, alone = pairs.joint.draw(pictures, random), pairs.alone.draw(pictures, random)
        things = pairs.captions.draw(pictures, random)
        texts = torch.where(chance < self._draws.alone, alone, joint)
        return torch.where(chance > 1 - self._draws.things, things, texts)

    def _draw_photo_like(self, random: Generator) -> Tensor:
        """Return synthetic features; a quarter is blended with crops, a quarter is only crops."""
        num_crops = self._batch_size // 4
        crops = _draw_rows(self._data.pairs.crops, num_crops, random)
        crops = crops * _draw_contrast(num_crops, random)
        synthetic = self._data.synthetic.draw(self._batch_size - num_crops, random)
        share = torch.rand(num_crops, 1, generator=random) ** 2
        blended = synthetic[:num_crops] * (1 - share) + share * crops
        return torch.cat([blended, synthetic[num_crops:], crops])


@dataclass(frozen=True)
class _Sets:
    """Rows of pictures of the same thing."""

    rows: Tensor  # (S, largest), padded with 0
    counts: Tensor  # (S,)

    @classmethod
    def of(cls, rows: Tensor, pairs: Pairs) -> _Sets:
        """Return the sets that the given rows form."""
        numbers, counts = pairs.sets[rows].unique(return_counts=True)
        table = torch.zeros(len(numbers), int(counts.max()) if len(counts) else 0, dtype=torch.long)
        for place, number in enumerate(numbers.tolist()):
            members = rows[pairs.sets[rows] == number]
            table[place, : len(members)] = members
        return cls(table, counts)

    def draw(self, count: int, per_set: int, random: Generator) -> Tensor:
        """Return so many rows, up to ``per_set`` of each drawn set."""
        if not len(self.rows) or not count:
            return torch.zeros(0, dtype=torch.long)
        sets = torch.randint(len(self.rows), (count // per_set,), generator=random)
        chance = torch.rand(len(sets), self.rows.shape[1], generator=random)
        chance[torch.arange(self.rows.shape[1])[None] >= self.counts[sets][:, None]] = -1
        order = chance.argsort(1, descending=True)[:, :per_set]
        return self.rows[sets].gather(1, order).flatten()


def _block_diagonal(first: Tensor, second: Tensor) -> Tensor:
    joined: Tensor = torch.block_diag(first, second)
    return joined.bool()


def _draw_rows(rows: Tensor, count: int, random: Generator) -> Tensor:
    return rows[torch.randint(len(rows), (count,), generator=random)]


def _draw_contrast(count: int, random: Generator) -> Tensor:
    return 0.8 + 0.4 * torch.rand(count, 1, generator=random)
