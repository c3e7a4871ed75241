"""Splits of labelled images: nothing is in both halves, and more shots hold all of fewer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipkit.adaptation.splits import Split, draw_splits
from clipkit.errors import InputError


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(2, 9), min_size=2, max_size=5), st.integers(0, 1000))
def test_each_class_is_in_both_halves_and_no_image_is(counts: list[int], seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    names = [f"class {label}" for label in range(len(counts))]
    (split,) = draw_splits(labels, names, [seed])
    assert sorted([*split.train, *split.test]) == list(range(len(labels)))
    tested = np.bincount(labels[split.test])
    assert tested.tolist() == [max(1, round(count / 3)) for count in counts]
    assert (np.bincount(labels[split.train], minlength=len(counts)) > 0).all()


def test_seeds_draw_differently_and_alike_again() -> None:
    labels = np.repeat([0, 1], 12)
    first, second = draw_splits(labels, ["a", "b"], [0, 1])
    assert first.test.tolist() != second.test.tolist()
    assert draw_splits(labels, ["a", "b"], [0])[0].test.tolist() == first.test.tolist()


def test_more_shots_hold_the_images_of_fewer() -> None:
    labels = np.repeat([0, 1, 2], [10, 10, 3])
    (split,) = draw_splits(labels, ["a", "b", "c"], [5])
    before: set[int] = set()
    for shots in (1, 2, 4, 8):
        few = split.few(labels, shots)
        assert few.test is split.test
        assert {*few.train.tolist()} >= before
        before = {*few.train.tolist()}
        counts = np.bincount(labels[few.train]).tolist()
        assert counts == [min(shots, 7), min(shots, 7), min(shots, 2)]
    assert split.few(labels, 100).train.tolist() == split.train.tolist()


def test_classes_of_one_image_are_named() -> None:
    with pytest.raises(InputError, match=r"1 of 2 classes have fewer than two .*'b'"):
        draw_splits(np.array([0, 0, 1]), ["a", "b"], [0])


def test_a_split_has_train_and_test_rows() -> None:
    split = Split(0, np.array([0, 1]), np.array([2]))
    assert split.few(np.array([0, 0, 1]), 1).train.shape == (1,)
