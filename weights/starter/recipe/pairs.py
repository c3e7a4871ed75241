"""Training pictures with their captions: emoji and openclipart, on white and on photographs.

Shapes: N pictures, F = 1280 features, T texts.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from recipe.backgrounds import background_paths, read_scenes
from recipe.benchmarks import picture_job
from recipe.clipart import read_clipart
from recipe.composites import Backgrounds, ObjectSize, paste_on_background
from recipe.emoji import read_emoji
from recipe.packages import Cache
from recipe.picture import Picture
from recipe.texts import TextStore
from recipe.trunk import ImageFeatures, ImageJob, Trunk

NUM_COMPOSITES = 2600
NUM_CROPS = 1500
VIEWS_PER_SCENE = 6
DRAWING, COMPOSITE, SCENE = range(3)
_COMPOSITE_OBJECTS = ObjectSize(0.5, 1.0)
_COMPOSITE_SEED = 5
_SMALLEST_CROP = 0.2
_SMALLEST_SCENE_VIEW = 0.7  # what a scene is called must still be true of a part of it
_PHOTO_PROMPT = "a photo of {}"
_SKIPPED_EMOJI_CATEGORY = "Symbols"


@dataclass(frozen=True)
class TextChoices:
    """For each picture, rows of the text table to choose from."""

    rows: Tensor  # (N, longest), padded with 0
    counts: Tensor  # (N,)

    def draw(self, pictures: Tensor, random: torch.Generator) -> Tensor:
        """Return one random row for each given picture, shape (B,)."""
        positions = (torch.rand(len(pictures), generator=random) * self.counts[pictures]).long()
        return self.rows[pictures, positions]


@dataclass(frozen=True)
class Pairs:
    """Trunk features of the training pictures and what is said about them."""

    features: Tensor  # (N, F)
    kinds: Tensor  # (N,): DRAWING, COMPOSITE or SCENE
    concepts: Tensor  # (N,): equal numbers show the same thing
    texts: Tensor  # (T, 384)
    captions: TextChoices
    tags: TextChoices
    crops: Tensor  # (M, F): parts of photographs, without text
    is_validation: Tensor  # (N,) bool: concepts kept aside to choose settings on

    @cached_property
    def mean(self) -> Tensor:
        """Mean feature of the pictures, shape (F,)."""
        return self.features.mean(0)

    @cached_property
    def deviation(self) -> Tensor:
        """Standard deviation of the features, shape (F,), kept away from zero."""
        return self.features.std(0) + 0.05

    @property
    def composites(self) -> Tensor:
        """Features of drawings pasted on photographs."""
        return self.features[self.kinds == COMPOSITE]


def training_pictures(cache: Cache) -> list[Picture]:
    """Return the drawings of the training splits."""
    emoji = [
        picture
        for vendor in ("google", "twitter")
        for picture in read_emoji(cache, vendor)
        if picture.category != _SKIPPED_EMOJI_CATEGORY
    ]
    return [picture for picture in [*emoji, *read_clipart(cache)] if picture.split == "train"]


def build_pairs(cache: Cache, trunk: Trunk, store: TextStore) -> Pairs:
    """Return features and texts of everything that is trained on; cached after the first time."""
    pictures = training_pictures(cache)
    drawn = trunk.features("drawings", [picture_job(picture) for picture in pictures])
    chosen = list(range(len(pictures)))
    random.Random(_COMPOSITE_SEED).shuffle(chosen)
    chosen = chosen[:NUM_COMPOSITES]
    backgrounds = _LazyBackgrounds(background_paths(cache))
    pasted = trunk.features(
        "composites",
        [_composite_job(pictures[number], backgrounds, trunk.image_size) for number in chosen],
    )
    crops = trunk.features(
        "crops", [_crop_job(number, backgrounds, trunk.image_size) for number in range(NUM_CROPS)]
    )
    scenes = [scene for scene in read_scenes(cache) for _ in range(VIEWS_PER_SCENE)]
    views = trunk.features(
        "scenes",
        [
            _view_job(scene, number % VIEWS_PER_SCENE, trunk.image_size)
            for number, scene in enumerate(scenes)
        ],
    )
    parts = [
        (DRAWING, pictures, drawn),
        (COMPOSITE, [pictures[number] for number in chosen], pasted),
        (SCENE, scenes, views),
    ]
    return _collect(parts, crops.features[crops.is_readable], store)


def _collect(
    parts: Sequence[tuple[int, Sequence[Picture], ImageFeatures]], crops: Tensor, store: TextStore
) -> Pairs:
    """Join the readable pictures of all kinds and number their texts and concepts."""
    shown = [
        picture
        for _, pictures, images in parts
        for picture, good in zip(pictures, images.is_readable, strict=True)
        if bool(good)
    ]
    kinds = [torch.full((int(images.is_readable.sum()),), kind) for kind, _, images in parts]
    table = _TextTable()
    captions = table.choices([_with_photo_prompts(picture.captions) for picture in shown])
    tags = table.choices([picture.tags or picture.captions for picture in shown])
    numbers: dict[str, int] = {}
    concepts = [numbers.setdefault(picture.concept, len(numbers)) for picture in shown]
    return Pairs(
        features=torch.cat([images.features[images.is_readable] for _, _, images in parts]),
        kinds=torch.cat(kinds),
        concepts=torch.tensor(concepts),
        texts=store.embed(table.texts),
        captions=captions,
        tags=tags,
        crops=crops,
        is_validation=torch.tensor([is_validation_picture(picture) for picture in shown]),
    )


def is_validation_picture(picture: Picture) -> bool:
    """Return whether a training picture is kept aside while settings are chosen.

    That is one concept of drawings in eight and one scene in four.
    """
    if picture.is_photograph:
        return random.Random("validation " + picture.path.name).random() < 1 / 4
    return random.Random("validation " + picture.concept).random() < 1 / 8


class _LazyBackgrounds:
    """Backgrounds that are decoded only if a picture has to be made."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self._opened: Backgrounds | None = None

    def open(self) -> Backgrounds:
        if self._opened is None:
            self._opened = Backgrounds(self.paths)
        return self._opened

    @property
    def identity(self) -> str:
        return " ".join(path.name for path in self.paths)


def _composite_job(picture: Picture, backgrounds: _LazyBackgrounds, size: int) -> ImageJob:
    identity = f"composite {picture.category}/{picture.path.name} on {backgrounds.identity}"
    return ImageJob(
        identity,
        lambda: paste_on_background(
            picture.path,
            backgrounds.open(),
            random.Random(f"composite {picture.category}/{picture.path.name}"),
            size=size,
            object_size=_COMPOSITE_OBJECTS,
        ),
    )


def _crop_job(number: int, backgrounds: _LazyBackgrounds, size: int) -> ImageJob:
    return ImageJob(
        f"crop {number} of {backgrounds.identity}",
        lambda: backgrounds.open().crop(
            random.Random(f"crop {number}"), size, smallest=_SMALLEST_CROP
        ),
    )


def _view_job(scene: Picture, number: int, size: int) -> ImageJob:
    identity = f"view {number} of {scene.path.name}"
    return ImageJob(
        identity,
        lambda: Backgrounds([scene.path]).crop(
            random.Random(identity), size, smallest=_SMALLEST_SCENE_VIEW
        ),
    )


class _TextTable:
    """Numbers texts in the order of their first use."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    @property
    def texts(self) -> list[str]:
        return list(self._numbers)

    def choices(self, lists: Sequence[Sequence[str]]) -> TextChoices:
        counts = torch.tensor([len(texts) for texts in lists])
        rows = torch.zeros(len(lists), int(counts.max()), dtype=torch.long)
        for number, texts in enumerate(lists):
            for position, text in enumerate(texts):
                rows[number, position] = self._numbers.setdefault(text, len(self._numbers))
        return TextChoices(rows, counts)


def _with_photo_prompts(captions: Sequence[str]) -> list[str]:
    """Return the captions, bare and as a photograph's.

    The prompt stands before captions of composites and drawings alike: a query rarely says
    that it asks for a drawing.
    """
    return [*captions, *(_PHOTO_PROMPT.format(caption) for caption in captions)]
