"""Training pictures with their captions: emoji and openclipart, on white and on photographs.

Shapes: N pictures, F = 1280 features, T texts.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from recipe.backgrounds import background_paths, read_scenes
from recipe.benchmarks import picture_job
from recipe.captioned_photographs import read_captioned_photographs
from recipe.clipart import read_clipart
from recipe.emoji import read_emoji
from recipe.made_pictures import MadePicture, image_name, made_pictures
from recipe.named_crops import named_crops
from recipe.packages import Cache
from recipe.picture import Picture
from recipe.styles import STYLES
from recipe.texts import TextStore
from recipe.training_jobs import LazyBackgrounds, composite_job, crop_job, view_job
from recipe.trunk import ImageFeatures, ImageMaps, Trunk, channels_last

NUM_COMPOSITES = 2600
NUM_CROPS = 1500
VIEWS_PER_SCENE = 6
VIEWS_PER_PHOTOGRAPH = 4
DRAWING, COMPOSITE, SCENE, STYLED, COLOURED, PAGE, PHOTOGRAPH, TURNED, NAMED = range(9)
_COMPOSITE_SEED = 5
_MADE_KINDS = {
    "styled": STYLED,
    "styled photographs": STYLED,
    "turned": TURNED,
    "coloured": COLOURED,
    "pages": PAGE,
    "named": NAMED,
}
_STYLE_NUMBERS = {style.name: number for number, style in enumerate(STYLES)}
_PHOTO_PROMPT = "a photo of {}"
_SKIPPED_EMOJI_CATEGORY = "Symbols"
_T = TypeVar("_T")


@dataclass(frozen=True)
class TextChoices:
    """For each picture, rows of the text table to choose from."""

    rows: Tensor  # (N, longest), padded with 0
    counts: Tensor  # (N,)

    def draw(self, pictures: Tensor, random: torch.Generator) -> Tensor:
        """Return one random row for each given picture, shape (B,)."""
        positions = (torch.rand(len(pictures), generator=random) * self.counts[pictures]).long()
        return self.rows[pictures, positions]

    def contain(self, pictures: Tensor, texts: Tensor) -> Tensor:
        """Return whether each text (column) is among those of each picture (row)."""
        rows = self.rows[pictures]  # (B, longest)
        is_real = torch.arange(rows.shape[1]) < self.counts[pictures, None]
        return ((rows[:, None] == texts[None, :, None]) & is_real[:, None]).any(-1)


@dataclass(frozen=True)
class PairMaps:
    """The maps that the features of the training pictures are pooled from."""

    places: Sequence[tuple[ImageMaps, int]]  # N times whose row

    def rows(self, numbers: Tensor) -> Tensor:
        """Return the maps of the given pictures, shape (B, M), with channels last in memory."""
        places = [self.places[number] for number in numbers.tolist()]
        return channels_last(np.stack([images.maps[row] for images, row in places]))


@dataclass(frozen=True)
class Pairs:
    """Trunk features of the training pictures and what is said about them."""

    features: Tensor  # (N, F)
    maps: PairMaps
    kinds: Tensor  # (N,): DRAWING, COMPOSITE, …
    concepts: Tensor  # (N,): equal numbers show the same thing
    texts: Tensor  # (T, 384)
    captions: TextChoices  # what is shown
    tags: TextChoices  # looser words for it
    joint: TextChoices  # what is shown and how
    alone: TextChoices  # only how
    truths: TextChoices  # all of these
    sets: Tensor  # (N,): equal numbers show the same thing differently
    styles: Tensor  # (N,): position in STYLES, -1 for pictures that are in none
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
    backgrounds = LazyBackgrounds(background_paths(cache))
    pasted = trunk.features(
        "composites",
        [composite_job(pictures[number], backgrounds, trunk.image_size) for number in chosen],
    )
    crops = trunk.features(
        "crops", [crop_job(number, backgrounds, trunk.image_size) for number in range(NUM_CROPS)]
    )
    scenes = [scene for scene in read_scenes(cache) for _ in range(VIEWS_PER_SCENE)]
    views = trunk.features(
        "scenes",
        [
            view_job(scene, number % VIEWS_PER_SCENE, trunk.image_size)
            for number, scene in enumerate(scenes)
        ],
    )
    photographs = [
        p for p in read_captioned_photographs(cache) for _ in range(VIEWS_PER_PHOTOGRAPH)
    ]
    looks = trunk.features(
        "photographs",
        [
            view_job(photograph, number % VIEWS_PER_PHOTOGRAPH, trunk.image_size)
            for number, photograph in enumerate(photographs)
        ],
    )
    shown = [
        *_plain(DRAWING, pictures, drawn),
        *_plain(COMPOSITE, [pictures[number] for number in chosen], pasted),
        *_plain(SCENE, scenes, views),
        *_plain(PHOTOGRAPH, photographs, looks),
    ]
    made_by_kind = made_pictures(cache, pictures, backgrounds, trunk.image_size)
    made_by_kind["named"] = named_crops(cache, trunk.image_size)
    for name, made in made_by_kind.items():
        found = trunk.features(name, [picture.job for picture in made])
        shown += _made(_MADE_KINDS[name], made, found)
    return _collect(shown, crops.features[crops.is_readable], store)


@dataclass(frozen=True)
class _Shown:
    """One readable picture before its texts are numbered."""

    kind: int
    feature: Tensor
    place: tuple[ImageMaps, int]
    concept: str
    set_name: str
    style: int
    things: Sequence[str]
    tags: Sequence[str]
    joint: Sequence[str]
    alone: Sequence[str]
    is_validation: bool


def _plain(kind: int, pictures: Sequence[Picture], images: ImageFeatures) -> Iterator[_Shown]:
    for row, picture in _readable(pictures, images):
        things = _with_photo_prompts(picture.captions)
        yield _Shown(
            kind=kind,
            feature=images.features[row],
            place=(images.maps, row),
            concept=picture.concept,
            set_name=image_name(picture),
            style=-1,
            things=things,
            tags=picture.tags or picture.captions,
            joint=things,
            alone=things,
            is_validation=is_validation_picture(picture),
        )


def _made(kind: int, made: Sequence[MadePicture], images: ImageFeatures) -> Iterator[_Shown]:
    for row, picture in _readable(made, images):
        yield _Shown(
            kind=kind,
            feature=images.features[row],
            place=(images.maps, row),
            concept=f"{picture.set_name} {picture.attribute}",
            set_name=picture.set_name,
            style=_STYLE_NUMBERS.get(picture.attribute, -1),
            things=picture.things,
            tags=picture.things,
            joint=picture.joint,
            alone=picture.alone,
            is_validation=is_validation_set(picture.set_name),
        )


def _readable(pictures: Sequence[_T], images: ImageFeatures) -> Iterator[tuple[int, _T]]:
    """Yield the pictures that could be read, each with its row."""
    for row, (picture, good) in enumerate(zip(pictures, images.is_readable, strict=True)):
        if bool(good):
            yield row, picture


def _collect(shown: Sequence[_Shown], crops: Tensor, store: TextStore) -> Pairs:
    """Number texts, concepts and sets."""
    table = _TextTable()
    return Pairs(
        features=torch.stack([one.feature for one in shown]),
        maps=PairMaps([one.place for one in shown]),
        kinds=torch.tensor([one.kind for one in shown]),
        concepts=_numbers([one.concept for one in shown]),
        sets=_numbers([one.set_name for one in shown]),
        styles=torch.tensor([one.style for one in shown]),
        captions=table.choices([one.things for one in shown]),
        tags=table.choices([one.tags for one in shown]),
        joint=table.choices([one.joint for one in shown]),
        alone=table.choices([one.alone for one in shown]),
        truths=table.choices(
            [list({*one.things, *one.tags, *one.joint, *one.alone}) for one in shown]
        ),
        texts=store.embed(table.texts),
        crops=crops,
        is_validation=torch.tensor([one.is_validation for one in shown]),
    )


def _numbers(names: Sequence[str]) -> Tensor:
    numbers: dict[str, int] = {}
    return torch.tensor([numbers.setdefault(name, len(numbers)) for name in names])


def is_validation_picture(picture: Picture) -> bool:
    """Return whether a training picture is kept aside while settings are chosen.

    That is one concept of drawings in eight and one scene in four.
    """
    if picture.is_photograph:
        return random.Random("validation " + picture.path.name).random() < 1 / 4
    return random.Random("validation " + picture.concept).random() < 1 / 8


def is_validation_set(name: str) -> bool:
    """Return whether a set of rendered pictures is kept aside: one in eight."""
    return random.Random("validation " + name).random() < 1 / 8


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
