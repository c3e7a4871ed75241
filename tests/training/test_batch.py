"""A batch of tensors: its rows, its keys, and its images standardised as ``Preprocess`` does."""

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clipkit.errors import InputError
from clipkit.inputs.preprocess import Preprocess
from clipkit.training.batch import Batch, TeacherFeatures, caption_key, standardize
from tests.training.conftest import make_batch

PREPROCESSES = [
    Preprocess(size=(16, 16)),
    Preprocess(size=(16, 16), mean=(0.5, 0.45, 0.4), std=(0.2, 0.3, 0.25)),
]


@pytest.mark.parametrize("preprocess", PREPROCESSES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_every_level_of_every_channel_is_equal_bit_for_bit(
    preprocess: Preprocess, layout: torch.memory_format
) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    expected = preprocess.standardized(Image.fromarray(levels))
    channels_first = torch.from_numpy(levels.transpose(2, 0, 1)[None].copy())

    found = standardize(channels_first.contiguous(memory_format=layout), preprocess)

    assert found.is_contiguous(memory_format=layout)
    np.testing.assert_array_equal(found[0].numpy(), expected)


def test_a_batch_goes_to_a_device_whole() -> None:
    teacher = TeacherFeatures(torch.ones(4, 2), torch.ones(4, 2))
    batch = make_batch(4, teacher=teacher).to(torch.device("meta"))
    assert batch.device.type == "meta"
    assert batch.teacher is not None
    tensors = (batch.token_ids, batch.images, batch.teacher.text_features)
    assert all(tensor is not None and tensor.is_meta for tensor in tensors)
    assert batch.image_features is None


def test_chunks_are_rows_in_order() -> None:
    chunks = make_batch(7, teacher=TeacherFeatures(torch.eye(7), torch.eye(7))).chunks(3)
    assert [len(chunk) for chunk in chunks] == [3, 3, 1]
    parts = [chunk.teacher.image_features for chunk in chunks if chunk.teacher]
    assert torch.equal(torch.cat(parts), torch.eye(7))


def test_images_take_the_memory_format_that_the_tower_likes() -> None:
    batch, cpu = make_batch(4), torch.device("cpu")
    moved = batch.to(cpu, torch.channels_last)
    assert batch.images is not None and moved.images is not None
    assert moved.images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(moved.images, batch.images)
    features = make_batch(4, images=None, image_features=torch.ones(4, 2))
    assert features.to(cpu, torch.channels_last).images is None


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "either token_ids or text_features"),
        ({"text_features": torch.ones(2, 4)}, "either images or image_features"),
        (
            {"text_features": torch.ones(2, 4), "image_features": torch.ones(3, 4)},
            "one row for each pair, got .*'image_features': 3",
        ),
    ],
)
def test_a_batch_without_a_side_or_with_sides_of_two_sizes_is_refused(
    parts: dict[str, Any], message: str
) -> None:
    keys = torch.arange(2)
    with pytest.raises(InputError, match=message):
        Batch(caption_keys=keys, image_keys=keys, **parts)


@pytest.mark.slow
def test_a_caption_has_the_same_key_in_every_process() -> None:
    """Python's own hash has not: it is salted."""
    texts = ["", "a cat", "Grüße 🐈", "a cat "]
    code = "from clipkit.training.batch import caption_key;"
    code += f"print(*map(caption_key, {texts!r}))"
    words = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    ended = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    assert [int(key) for key in ended.stdout.split()] == [caption_key(text) for text in texts]


def test_keys_of_many_captions_differ_and_fit_into_64_bits() -> None:
    keys = {caption_key(f"text {number}") for number in range(10_000)} | {caption_key("\ud800")}
    assert len(keys) == 10_001
    assert torch.tensor(sorted(keys)).dtype == torch.int64
