"""Noise in the shapes of the starter's recipe, and its settings in small."""

from dataclasses import replace

import pytest
import torch
from recipe.batches import TrainingData
from recipe.concepts import CONCEPT_TEMPLATES, Concepts
from recipe.head import Head, HeadConfig
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
    PairMaps,
    Pairs,
    TextChoices,
)
from recipe.settings import Amount, Settings, read_settings
from recipe.styled_classes import StyledClasses, StyleShift
from recipe.styles import STYLES
from recipe.synthetic import SyntheticFeatures
from recipe.texts import TEXT_WIDTH
from recipe.trunk import NUM_CLASSES, NUM_FEATURES, ImageMaps
from torch import Tensor
from torch.nn.functional import normalize

from tests.one_thread import one_thread as one_thread

KINDS = (DRAWING, COMPOSITE, SCENE, PHOTOGRAPH, PAGE, NAMED, STYLED, TURNED, COLOURED)
MAP_SHAPE = (3, 2, 2)
NUM_OF_EACH_KIND = 20
NUM_IN_A_SET = 5  # of the styled and the coloured
NUM_CONCEPTS = 5


@pytest.fixture(autouse=True)
def seeded(one_thread: None) -> None:
    """Let every test draw the same numbers."""
    torch.manual_seed(0)


@pytest.fixture
def settings() -> Settings:
    """The shipped settings with 20 pairs in a step and 3 steps in each of 2 epochs."""
    settings = read_settings()
    draws = replace(settings.draws, concepts_per_step=3, styled=6, coloured=4, pages=2, per_set=2)
    draws = replace(draws, styled_classes=0, turned=0, named=0)
    draws = replace(draws, composites=0.3, scenes=0.1, photographs=0.15)
    return replace(settings, amount=Amount(batch_size=20, epochs=2), draws=draws)


@pytest.fixture
def data() -> TrainingData:
    """20 pictures of each kind; the row of a text says which picture it is of: two each.

    Pictures 0 and 1 of a kind share their texts.
    """
    kinds = torch.tensor(KINDS).repeat_interleave(NUM_OF_EACH_KIND)
    num = len(kinds)
    owner = torch.arange(num)
    owner[1::NUM_OF_EACH_KIND] -= 1
    two_each = TextChoices(torch.stack([2 * owner, 2 * owner + 1], 1), torch.full((num,), 2))
    features = 3 * torch.rand(num, NUM_FEATURES)
    maps = torch.rand(num, *MAP_SHAPE).half().numpy()
    images = ImageMaps(maps, torch.ones(num, dtype=torch.bool))
    pairs = Pairs(
        features=features,
        maps=PairMaps([(images, row) for row in range(num)]),
        kinds=kinds,
        concepts=torch.arange(num),
        sets=torch.arange(num) // NUM_IN_A_SET,
        styles=torch.where(kinds == STYLED, torch.arange(num) % len(STYLES), -1),
        texts=_directions(2 * num),
        captions=two_each,
        tags=two_each,
        joint=two_each,
        alone=two_each,
        truths=two_each,
        crops=3 * torch.rand(30, NUM_FEATURES),
        is_validation=torch.arange(num) % NUM_OF_EACH_KIND < NUM_IN_A_SET,
    )
    concepts = Concepts(
        class_prompts=_directions(2 * NUM_CLASSES).view(NUM_CLASSES, 2, TEXT_WIDTH),
        num_class_prompts=torch.full((NUM_CLASSES,), 2),
        members=(torch.rand(NUM_CONCEPTS, NUM_CLASSES) < 0.1).float(),
        prompts=_directions(NUM_CONCEPTS * CONCEPT_TEMPLATES).view(NUM_CONCEPTS, -1, TEXT_WIDTH),
    )
    mean = features.mean(0)
    class_means = 3 * torch.rand(NUM_CLASSES, NUM_FEATURES)
    synthetic = SyntheticFeatures(mean, class_means, features - mean)
    shift = StyleShift(
        torch.ones(4, NUM_FEATURES),
        torch.zeros(4, NUM_FEATURES),
        features[None, :9].repeat(4, 1, 1),
    )
    captions = _directions(4 * NUM_CLASSES).view(4, NUM_CLASSES, TEXT_WIDTH)
    return TrainingData(pairs, concepts, synthetic, StyledClasses(synthetic, shift, captions))


@pytest.fixture
def head() -> Head:
    """A head whose classes are noise, with four free units."""
    weight, bias = torch.randn(NUM_CLASSES, NUM_FEATURES) / 20, torch.zeros(NUM_CLASSES)
    return Head(weight, bias, _directions(NUM_CLASSES), HeadConfig(num_free_units=4))


def _directions(count: int) -> Tensor:
    return normalize(torch.randn(count, TEXT_WIDTH), dim=-1)
