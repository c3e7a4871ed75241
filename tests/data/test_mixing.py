from pathlib import Path

import numpy as np
import pytest

from clipkit.data.mixing import ConcatenatedPairs, PairSubset
from clipkit.data.pair import Pair
from clipkit.errors import ImageReadError, InputError
from tests.fake_pairs import ListSource

PAIRS = [Pair(Path(f"{letter}.png"), (letter,), letter) for letter in "abcdef"]


def test_mixed_pairs_are_one_after_the_other() -> None:
    parts = [ListSource(PAIRS[:1]), ListSource([]), ListSource(PAIRS[1:4]), ListSource(PAIRS[4:])]
    parts[2].skipped = [ImageReadError("x", "is bad")]
    mixed = ConcatenatedPairs(parts)
    assert mixed.sizes == (1, 0, 3, 2)
    assert [mixed[row] for row in range(len(mixed))] == PAIRS
    assert [mixed.local_name(row) for row in range(len(mixed))] == list("abcdef")
    assert mixed.skipped == parts[2].skipped
    for row in (-1, 6):
        with pytest.raises(IndexError):
            mixed[row]


def test_classes_are_kept_where_all_have_the_same() -> None:
    first = ListSource(PAIRS[:2], labels=(0, 1), class_names=("cat", "dog"))
    second = ListSource(PAIRS[2:4], labels=(1, 0), class_names=("cat", "dog"))
    mixed = ConcatenatedPairs([first, second])
    assert mixed.class_names == ("cat", "dog")
    assert [mixed.label(row) for row in range(4)] == [0, 1, 1, 0]
    mixed = ConcatenatedPairs([first, ListSource(PAIRS[2:])])
    assert mixed.class_names == ()
    assert mixed.label(1) is None


def test_nothing_cannot_be_mixed() -> None:
    with pytest.raises(InputError, match="at least one dataset of pairs, got none"):
        ConcatenatedPairs([])


def test_a_subset_is_the_rows_it_names() -> None:
    source = ListSource(PAIRS, labels=range(6), class_names=tuple("abcdef"))
    subset = PairSubset(source, np.array([5, 0, 3]))
    assert [subset[row].name for row in range(len(subset))] == ["f", "a", "d"]
    assert [subset.label(row) for row in range(3)] == [5, 0, 3]
    assert [subset.local_name(row) for row in range(3)] == ["f", "a", "d"]
    assert subset.class_names == source.class_names
    assert subset.skipped == ()
    others = ([5, 0], [0, 5, 3], [5, 0, 4])
    prints = {PairSubset(source, np.array(rows)).fingerprint for rows in others}
    assert len(prints | {subset.fingerprint}) == 4
    assert subset.fingerprint == PairSubset(source, np.array([5, 0, 3])).fingerprint
