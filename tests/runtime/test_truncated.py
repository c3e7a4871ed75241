"""The space of the first dimensions: which numbers are allowed, and which spaces are the same."""

from typing import Any

import numpy as np
import pytest

from clipkit.errors import InputError
from clipkit.runtime.truncated import TruncatedRuntime
from tests.encoder.conftest import MeanColorRuntime


def test_features_are_cut_off() -> None:
    runtime = TruncatedRuntime(MeanColorRuntime(), 2)
    pixels = np.arange(3, dtype=np.float32)[None, :, None, None] * np.ones((1, 3, 2, 2), np.float32)
    assert runtime.image_features(pixels).tolist() == [[0.0, 1.0]]
    assert runtime.text_features(np.array([[1, 2, 3, 3]])).tolist() == [[1.0, 1.0]]


def test_each_number_of_dimensions_is_a_space() -> None:
    whole = MeanColorRuntime()
    spaces = {TruncatedRuntime(whole, number).space_id for number in (1, 2, 3)}
    assert len(spaces) == 3
    assert TruncatedRuntime(whole, 3).space_id == whole.space_id


def test_a_prefix_of_a_prefix_is_one_of_the_whole() -> None:
    whole = MeanColorRuntime()
    inner = TruncatedRuntime(TruncatedRuntime(whole, 2), 1)
    assert inner.space_id == TruncatedRuntime(whole, 1).space_id
    with pytest.raises(InputError, match="at most 2"):
        TruncatedRuntime(TruncatedRuntime(whole, 2), 3)


@pytest.mark.parametrize("number", [0, -1, 4, 1.5, "2", True, None])
def test_no_other_number_is_taken(number: Any) -> None:
    with pytest.raises(InputError, match="truncate_dim must be"):
        TruncatedRuntime(MeanColorRuntime(), number)
