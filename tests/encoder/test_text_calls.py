"""One text, and texts with a prompt before them."""

from typing import Any

import numpy as np
import pytest

from clipkit.encoder.encoder import Encoder
from clipkit.errors import InputError


def test_one_text_becomes_one_row(encoder: Encoder) -> None:
    row = encoder.encode_text("aab")
    assert row.shape == (3,)
    assert row.space_id == "fake"
    np.testing.assert_allclose(row, [0.894427, 0.447214, 0.0], atol=1e-6)


def test_several_texts_for_one_are_refused(encoder: Encoder) -> None:
    several: Any = ["a", "b"]
    with pytest.raises(InputError, match="text must be one string, got list: several are for"):
        encoder.encode_text(several)


def test_a_prompt_stands_before_each_text(encoder: Encoder) -> None:
    # "ca" counts (1, 0, 1), "cb" counts (0, 1, 1)
    half = 0.5**0.5
    rows = encoder.encode_texts(["a", "b"], prompt="c")
    np.testing.assert_allclose(rows, [[half, 0, half], [0, half, half]], atol=1e-6)
    np.testing.assert_allclose(encoder.encode_text("a", prompt="c"), rows[0], atol=1e-6)


@pytest.mark.parametrize("prompt", ["a photo of a {}", None, 3])
def test_a_template_is_no_prompt(encoder: Encoder, prompt: Any) -> None:
    with pytest.raises(InputError, match=r"prompt must be a string to put before .* templates="):
        encoder.encode_texts(["a"], prompt=prompt)
