from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipkit.data.mixing import ConcatenatedPairs, PairSubset, epoch_order
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


PLACES = st.lists(st.tuples(st.integers(0, 30), st.floats(0.01, 3.5)), min_size=1, max_size=4)


@given(places=PLACES, seed=st.integers(0, 2**31), epoch=st.integers(0, 1000))
def test_each_pair_is_drawn_as_often_as_its_weight_says(
    places: list[tuple[int, float]], seed: int, epoch: int
) -> None:
    sizes, weights = zip(*places, strict=True)
    order = epoch_order(sizes, weights, seed=seed, epoch=epoch)
    assert order.dtype == np.int64
    assert order.tolist() == epoch_order(sizes, weights, seed=seed, epoch=epoch).tolist()
    counts = Counter(order.tolist())
    start = 0
    for size, weight in places:
        mine = [counts.pop(row, 0) for row in range(start, start + size)]
        assert set(mine) <= {int(weight), int(weight) + 1}
        # At least one, or a small place would never be learnt from.
        assert abs(sum(mine) - max(weight * size, min(size, 1))) <= 0.5
        start += size
    assert not counts


@pytest.mark.parametrize(("weight", "epochs"), [(0.5, 2), (1.5, 2), (0.25, 4), (0.3, 10)])
def test_over_epochs_all_have_their_turn(weight: float, epochs: int) -> None:
    counts = Counter[int]()
    for epoch in range(epochs):
        counts.update(epoch_order([20], [weight], seed=7, epoch=epoch).tolist())
    assert set(counts.values()) == {round(weight * epochs)}
    assert len(counts) == 20


def test_also_a_small_place_has_its_turn() -> None:
    orders = [epoch_order([9, 4], [1, 0.1], seed=7, epoch=epoch).tolist() for epoch in range(4)]
    assert {row for order in orders for row in order if row >= 9} == {9, 10, 11, 12}
    assert {len(order) for order in orders} == {10}


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {
        tuple(epoch_order([50], [1.0], seed=seed, epoch=epoch).tolist())
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9


def test_every_order_is_as_likely() -> None:
    # Of 6 orders of 3 rows each comes 1000 times in 6000, give or take 5 sigma of 28.9.
    orders = [tuple(epoch_order([3], [1.0], seed=s, epoch=0).tolist()) for s in range(6000)]
    counts = Counter(orders)
    assert len(counts) == 6
    assert all(abs(count - 1000) < 145 for count in counts.values())


def test_an_epoch_without_room_in_memory_is_refused() -> None:
    with pytest.raises(InputError, match=r"up to 2,147,483,648 pairs, .* were 4e\+12: lower the"):
        epoch_order([4_000_000], [1e6], seed=0, epoch=0)
