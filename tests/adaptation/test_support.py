"""Support images leave their parts out evenly."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.adaptation.made_support import WORKED, made_support


def test_zero_shot_logits_are_cosines_times_the_scale() -> None:
    logits = WORKED.zero_shot(np.array([[0.6, 0.8]], dtype=np.float32))
    np.testing.assert_allclose(logits, [[60, 80]], atol=1e-4)


def test_counts_and_one_hot_include_classes_without_images() -> None:
    support = made_support([2, 0, 1])
    assert support.counts.tolist() == [2, 0, 1]
    assert support.one_hot.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 1]]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 7), min_size=2, max_size=5).filter(lambda counts: max(counts) > 1))
def test_folds_leave_each_image_out_once_and_classes_evenly(counts: list[int]) -> None:
    support = made_support(counts)
    left_out = []
    for part, rows in support.folds(5):
        assert len(part.labels) == len(support.labels) - len(rows)
        left_out += rows.tolist()
        missing = support.counts - part.counts
        ceiling = -(-support.counts // min(5, max(counts)))
        assert (missing <= ceiling).all()
    assert sorted(left_out) == list(range(len(support.labels)))
