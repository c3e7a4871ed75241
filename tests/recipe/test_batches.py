"""What a step of the recipe learns from: the shares of each kind, the same at every call."""

from dataclasses import replace

import torch
from recipe.batches import HeadBatch, HeadBatches, TrainingData
from recipe.settings import Settings

from tests.recipe.conftest import NUM_OF_EACH_KIND


def batches_of(data: TrainingData, settings: Settings, *, seed: int = 0) -> HeadBatches:
    return HeadBatches(data, settings.draws, batch_size=settings.amount.batch_size, seed=seed)


def are_equal(first: HeadBatch, second: HeadBatch) -> bool:
    pairs = zip(vars(first).values(), vars(second).values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def test_a_batch_is_a_function_of_its_number_and_the_seed(
    data: TrainingData, settings: Settings
) -> None:
    straight = batches_of(data, settings).after(0)
    first, second = next(straight), next(straight)
    torch.rand(7)  # what others draw does not matter
    assert are_equal(second, next(batches_of(data, settings).after(1)))
    assert not are_equal(first, second)
    assert not are_equal(first, next(batches_of(data, settings, seed=1).after(0)))


def test_kinds_have_their_shares(data: TrainingData, settings: Settings) -> None:
    """Of 20: 30 % composites, 10 % scenes, and drawings; concepts are numbered by kind."""
    batches = batches_of(data, settings)
    assert batches.steps_per_epoch == 3  # 60 pictures
    batch = next(batches.after(0))
    assert (batch.picture_concepts // 100).bincount().tolist() == [12, 6, 2]
    assert batch.pictures.shape == batch.photographs.shape == (20, 1280)
    assert batch.texts.shape == (20, 384)
    assert batch.concept_members.shape == (3, 1000)


def test_what_is_kept_aside_is_never_drawn(data: TrainingData, settings: Settings) -> None:
    """The first picture of each kind is for validation."""
    draws = replace(settings.draws, leave_out_validation=True)
    batches = batches_of(data, replace(settings, draws=draws))
    assert len(batches.drawings) == NUM_OF_EACH_KIND - 1
    drawn = torch.cat([next(batches.after(step)).picture_concepts for step in range(20)])
    assert set((drawn % 100).tolist()) == set(range(1, NUM_OF_EACH_KIND))
