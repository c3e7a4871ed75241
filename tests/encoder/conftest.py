"""An encoder whose embeddings can be computed by hand: mean colours, and counts of letters."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clipkit.encoder.encoder import Encoder
from clipkit.inputs.preprocess import Preprocess
from clipkit.inputs.tokenizer import Tokenizer
from clipkit.runtime.base import Scoring

COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255), (51, 102, 204)]


class MeanColorRuntime:
    """Image features are the mean colour; text features count letters a, b and c."""

    engine, device, precision = "fake", "cpu", "fp32"
    space_id, embed_dim, scoring = "fake", 3, Scoring(0.0)

    def __init__(self, image_workers: int = 1) -> None:
        self.image_workers = image_workers
        self.image_batch = 8
        self.image_batches: list[int] = []
        self.text_batches: list[int] = []

    may_weights_change = False

    def have_weights_changed(self) -> bool:
        return False

    def image_features(self, pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        self.image_batches.append(len(pixel_values))
        colors: NDArray[np.float32] = pixel_values.mean(axis=(2, 3))
        return colors

    def text_features(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        self.text_batches.append(len(token_ids))
        counts = [(token_ids == token).sum(axis=1) for token in (1, 2, 3)]
        return np.stack(counts, axis=1).astype(np.float32)


def letters_tokenizer() -> Tokenizer:
    from tokenizers import Tokenizer as Vocabulary
    from tokenizers import models, pre_tokenizers

    vocabulary = Vocabulary(models.WordLevel({"?": 0, "a": 1, "b": 2, "c": 3}, unk_token="?"))
    vocabulary.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return Tokenizer(lambda: vocabulary, clean=str.strip, context_length=8)


@pytest.fixture
def runtime() -> MeanColorRuntime:
    return MeanColorRuntime()


@pytest.fixture
def encoder(runtime: MeanColorRuntime) -> Encoder:
    preprocess = Preprocess(size=(4, 4), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return Encoder(runtime, preprocess, letters_tokenizer(), name="fake")


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    paths = []
    for number, color in enumerate(COLORS):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (8, 6), color).save(paths[-1])
    return paths
