"""A teacher gives the features of its own towers, and learns nothing."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from clipkit.inputs.preprocess import Preprocess
from clipkit.inputs.tokenizer import TextCutWarning, Tokenizer
from clipkit.models.checkpoint import load_towers
from clipkit.models.sources import DirectorySource
from clipkit.models.towers import Towers
from clipkit.training.batch import Batch, TeacherFeatures, standardize
from clipkit.training.config import LossConfig
from clipkit.training.data_loading import LoadedBatch
from clipkit.training.distillation import Teacher
from clipkit.training.distributed import Ranks
from clipkit.training.losses import ContrastiveLoss
from clipkit.training.step import ContrastiveStep, LoadedStep
from clipkit.training.trained_towers import TrainedTowers

CPU = torch.device("cpu")
CAPTIONS = ["a cat", "a dog that is larger", "word " * 99]


@pytest.fixture
def towers(tiny_checkpoint: Path) -> Towers:
    return load_towers(DirectorySource("tiny", tiny_checkpoint))


@pytest.fixture
def tokenizer(towers: Towers) -> Tokenizer:
    return Tokenizer.from_config(towers.model_cfg["text_cfg"], towers.tokenizer_source)


@pytest.fixture
def levels() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, 3, 32, 32), generator=generator, dtype=torch.uint8)


def test_features_are_those_of_its_towers(
    towers: Towers, tokenizer: Tokenizer, levels: torch.Tensor
) -> None:
    """The longest caption is cut without a word: the pre-flight counts those."""
    with pytest.warns(TextCutWarning):
        token_ids = torch.from_numpy(tokenizer(CAPTIONS))
    preprocess = Preprocess.from_config(towers.preprocess_cfg, 32)
    with torch.no_grad():
        images = towers.image_features(standardize(levels, preprocess))
        texts = towers.text_features(token_ids)
    teacher = Teacher(towers.train(), tokenizer, CPU)
    found = teacher.features(levels, CAPTIONS)
    torch.testing.assert_close(found.image_features, images)
    torch.testing.assert_close(found.text_features, texts)
    assert not found.image_features.requires_grad
    assert not any(item.requires_grad for item in towers.parameters())
    assert (teacher.embed_dim, teacher.logit_scale) == (24, 3.25)
    assert teacher.preprocess.size == (32, 32)
    assert teacher.preprocess.mean == (0.5, 0.4, 0.3)


def test_a_step_hands_over_what_the_teacher_sees(
    towers: Towers, tokenizer: Tokenizer, levels: torch.Tensor, tiny_checkpoint: Path
) -> None:
    """A student of the same weights is as far from its teacher as its pixels are."""
    student = TrainedTowers(load_towers(DirectorySource("tiny", tiny_checkpoint)))
    teacher = Teacher(towers, tokenizer, CPU)
    loss = ContrastiveLoss(LossConfig(), Ranks(), teacher_logit_scale=teacher.logit_scale)
    step = LoadedStep(ContrastiveStep(student, loss), CPU, torch.channels_last, teacher)
    captions = CAPTIONS[:2]
    pairs = Batch(
        token_ids=torch.from_numpy(tokenizer(captions)),
        caption_keys=torch.arange(2),
        image_keys=torch.arange(2),
        levels=levels[:2],
    )
    same = step.backward(LoadedBatch(pairs, captions, levels[:2], {}))
    other = step.backward(LoadedBatch(pairs, captions, levels[1:], {}))
    assert float(same["feature_loss"]) == pytest.approx(0, abs=1e-6)
    assert float(other["feature_loss"]) > 1e-3
    assert all(value.shape == () and not value.requires_grad for value in same.values())


@pytest.mark.parametrize(("chunk_size", "sizes"), [(0, [3]), (2, [2, 1]), (9, [3])])
def test_the_teacher_sees_as_many_at_once_as_the_student(
    towers: Towers,
    tokenizer: Tokenizer,
    levels: torch.Tensor,
    monkeypatch: pytest.MonkeyPatch,
    chunk_size: int,
    sizes: list[int],
) -> None:
    seen: list[Batch] = []
    seen_sizes: list[int] = []
    teacher = Teacher(towers, tokenizer, CPU)
    expected = teacher.features(levels, CAPTIONS)
    features = teacher.features

    def count(levels: torch.Tensor, captions: Sequence[str]) -> TeacherFeatures:
        seen_sizes.append(len(captions))
        return features(levels, captions)

    def note(step: ContrastiveStep, batch: Batch) -> dict[str, torch.Tensor]:
        seen.append(batch)
        return {}

    monkeypatch.setattr(teacher, "features", count)
    monkeypatch.setattr(ContrastiveStep, "backward", note)
    keys, rows = torch.arange(3), torch.ones(3, 2)
    batch = Batch(keys, keys, text_features=rows, levels=levels)
    step = LoadedStep(object.__new__(ContrastiveStep), CPU, teacher=teacher, chunk_size=chunk_size)

    step.backward(LoadedBatch(batch, CAPTIONS, levels, {}))

    assert seen_sizes == sizes
    assert seen[0].teacher is not None
    torch.testing.assert_close(seen[0].teacher.image_features, expected.image_features)
    torch.testing.assert_close(seen[0].teacher.text_features, expected.text_features)


def test_images_come_in_the_layout_that_the_tower_likes(
    levels: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Batch] = []

    def note(step: ContrastiveStep, batch: Batch) -> dict[str, torch.Tensor]:
        seen.append(batch)
        return {}

    monkeypatch.setattr(ContrastiveStep, "backward", note)
    inner = object.__new__(ContrastiveStep)
    keys, rows = torch.arange(3), torch.ones(3, 2)
    images = Batch(keys, keys, text_features=rows, levels=levels)
    features = Batch(keys, keys, text_features=rows, image_features=rows)
    for batch in (images, features):
        loaded = LoadedBatch(batch, CAPTIONS, None, {})
        LoadedStep(inner, CPU, torch.channels_last).backward(loaded)
    assert seen[0].levels is not None
    assert seen[0].levels.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(seen[0].levels, levels)
    assert seen[1].levels is None
