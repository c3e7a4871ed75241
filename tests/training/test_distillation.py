"""A teacher gives the features of its own towers, and learns nothing."""

from pathlib import Path

import pytest
import torch

from clipkit.inputs.preprocess import Preprocess
from clipkit.inputs.tokenizer import TextCutWarning, Tokenizer
from clipkit.models.checkpoint import load_towers
from clipkit.models.sources import DirectorySource
from clipkit.models.towers import Towers
from clipkit.training.batch import standardize
from clipkit.training.distillation import Teacher

CPU = torch.device("cpu")
CAPTIONS = ["a cat", "a dog that is larger", "word " * 99]


@pytest.fixture
def towers(tiny_checkpoint: Path) -> Towers:
    return load_towers(DirectorySource("tiny", tiny_checkpoint))


@pytest.fixture
def tokenizer(towers: Towers) -> Tokenizer:
    return Tokenizer.from_config(towers.model_cfg["text_cfg"], towers.tokenizer_source)


@pytest.fixture
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, 3, 32, 32), generator=generator, dtype=torch.uint8)


def test_features_are_those_of_its_towers(
    towers: Towers, tokenizer: Tokenizer, images: torch.Tensor
) -> None:
    """The longest caption is cut without a word: the pre-flight counts those."""
    with pytest.warns(TextCutWarning):
        token_ids = torch.from_numpy(tokenizer(CAPTIONS))
    preprocess = Preprocess.from_config(towers.preprocess_cfg, 32)
    with torch.no_grad():
        image_features = towers.image_features(standardize(images, preprocess))
        texts = towers.text_features(token_ids)
    teacher = Teacher(towers.train(), tokenizer, CPU)
    found = teacher.features(images, CAPTIONS)
    torch.testing.assert_close(found.image_features, image_features)
    torch.testing.assert_close(found.text_features, texts)
    assert not found.image_features.requires_grad
    assert not any(item.requires_grad for item in towers.parameters())
    assert (teacher.embed_dim, teacher.logit_scale) == (24, 3.25)
    assert teacher.preprocess.size == (32, 32)
    assert teacher.preprocess.mean == (0.5, 0.4, 0.3)


@pytest.mark.parametrize(("chunk_size", "sizes"), [(0, [3]), (2, [2, 1]), (9, [3])])
def test_chunks_give_the_features_of_all_at_once(
    towers: Towers,
    tokenizer: Tokenizer,
    images: torch.Tensor,
    monkeypatch: pytest.MonkeyPatch,
    chunk_size: int,
    sizes: list[int],
) -> None:
    teacher = Teacher(towers, tokenizer, CPU)
    expected = teacher.features(images, CAPTIONS)
    seen_sizes: list[int] = []
    image_features = Towers.image_features

    def count(towers: Towers, pixel_values: torch.Tensor) -> torch.Tensor:
        seen_sizes.append(len(pixel_values))
        return image_features(towers, pixel_values)

    monkeypatch.setattr(Towers, "image_features", count)
    found = teacher.features(images, CAPTIONS, chunk_size=chunk_size)

    assert seen_sizes == sizes
    torch.testing.assert_close(found.image_features, expected.image_features)
    torch.testing.assert_close(found.text_features, expected.text_features)
