"""What a step of the recipe learns from: the shares of each kind, the same at every call."""

from dataclasses import fields, replace

import torch
from recipe.batches import HeadBatch, HeadBatches, TrainingData
from recipe.settings import Settings
from torch import Tensor

from tests.recipe.conftest import KINDS, NUM_IN_A_SET, NUM_OF_EACH_KIND


def batches_of(data: TrainingData, settings: Settings, *, seed: int = 0) -> HeadBatches:
    return HeadBatches(data, settings.draws, batch_size=settings.amount.batch_size, seed=seed)


def are_equal(first: HeadBatch, second: HeadBatch) -> bool:
    names = [field.name for field in fields(HeadBatch) if field.name != "num_plain"]
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in names)


def test_a_batch_is_a_function_of_its_number_and_the_seed(
    data: TrainingData, settings: Settings
) -> None:
    straight = batches_of(data, settings).after(0)
    first, second = next(straight), next(straight)
    torch.rand(7)  # what others draw does not matter
    assert are_equal(second, next(batches_of(data, settings).after(1)))
    assert not are_equal(first, second)
    assert not are_equal(first, next(batches_of(data, settings, seed=1).after(0)))


def kinds_of(batch: HeadBatch, data: TrainingData) -> list[int]:
    """Return how many pictures of each kind a batch without noise has."""
    rows = rows_of(batch, data)
    return [int((data.pairs.kinds[rows] == kind).sum()) for kind in KINDS]


def rows_of(batch: HeadBatch, data: TrainingData) -> Tensor:
    """Return which pictures a batch has: those with the nearest features."""
    return torch.cdist(batch.pictures, data.pairs.features).argmin(1)


def test_kinds_have_their_shares(data: TrainingData, settings: Settings) -> None:
    """Of 20 pairs: 30 % composites, 10 % scenes, 15 % photographs; the rendered come beside."""
    batches = batches_of(data, settings)
    assert batches.steps_per_epoch == 9  # 180 pictures
    batch = next(batches.after(0))
    assert kinds_of(batch, data) == [9, 6, 2, 3, 2, 0, 6, 0, 4]
    assert batch.num_plain == 20
    assert batch.photographs.shape == (20, 1280)
    assert batch.pictures.shape == (32, 1280)
    assert batch.texts.shape == (32, 384)
    assert batch.concept_members.shape == (3, 1000)


def test_several_renderings_of_a_set_come_together(data: TrainingData, settings: Settings) -> None:
    """The styled stand behind the plain ones, two of a set after each other, never one twice."""
    for step in range(5):
        batch = next(batches_of(data, settings).after(step))
        rows = rows_of(batch, data)[batch.num_plain :][:6].view(3, 2)
        sets = data.pairs.sets[rows]
        assert torch.equal(sets[:, 0], sets[:, 1])
        assert (rows[:, 0] != rows[:, 1]).all()


def test_a_text_matches_every_picture_that_it_is_true_of(
    data: TrainingData, settings: Settings
) -> None:
    for step in range(5):
        batch = next(batches_of(data, settings).after(step))
        texts = torch.cdist(batch.texts, data.pairs.texts).argmin(1)
        rows = rows_of(batch, data)
        expected = [
            [text in data.pairs.truths.rows[row].tolist() for text in texts.tolist()]
            for row in rows.tolist()
        ]
        assert batch.matches.tolist() == expected
        assert batch.matches.diagonal().all()


def test_what_is_kept_aside_is_never_drawn(data: TrainingData, settings: Settings) -> None:
    """The first set of each kind is for validation."""
    draws = replace(settings.draws, leave_out_validation=True)
    batches = batches_of(data, replace(settings, draws=draws))
    assert len(batches.drawings) == NUM_OF_EACH_KIND - NUM_IN_A_SET
    drawn = torch.cat([rows_of(next(batches.after(step)), data) for step in range(20)])
    assert (drawn % NUM_OF_EACH_KIND).min() == NUM_IN_A_SET
