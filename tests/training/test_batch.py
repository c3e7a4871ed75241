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
from clipkit.training.batch import (
    Batch,
    TeacherFeatures,
    class_key,
    standardize,
    text_keys,
)
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
def test_keys_are_the_same_in_every_process() -> None:
    """Python's own hash is not: it is salted."""
    code = (
        "import numpy as np; from clipkit.training.batch import class_key, text_keys;"
        "print(*text_keys(np.arange(6).reshape(2, 3)).tolist(), class_key('Grüße'))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    expected = [*text_keys(np.arange(6).reshape(2, 3)).tolist(), class_key("Grüße")]
    assert [int(key) for key in ended.stdout.split()] == expected


def test_keys_of_texts_are_those_of_their_token_ids() -> None:
    rows = np.array([[1, 2, 0], [1, 0, 2], [1, 2, 0], [2, 1, 0]])
    first, second, third, fourth = text_keys(rows).tolist()
    assert first == third
    assert len({first, second, fourth}) == 3
    assert text_keys(rows.astype(np.int32)).tolist()[0] == first
    assert text_keys(np.asfortranarray(rows)).tolist()[0] == first


def test_keys_of_many_texts_and_classes_differ_and_fit_into_64_bits() -> None:
    texts = text_keys(np.arange(10_000)[:, None]).tolist()
    keys = {
        *texts,
        *(class_key(f"class {number}") for number in range(10_000)),
        class_key("\ud800"),
    }
    assert len(keys) == 20_001
    assert torch.tensor(sorted(keys)).dtype == torch.int64
