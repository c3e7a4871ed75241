"""Levels standardised in torch are those that ``Preprocess`` gives for use."""

import numpy as np
import pytest
import torch
from PIL import Image

from clipkit.inputs.preprocess import Preprocess
from clipkit.training.batch import standardize

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
