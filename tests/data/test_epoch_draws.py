"""How often an epoch draws each pair: weights, shares of a mixture, balanced classes."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipkit.data.epoch_draws import EpochDraws, epoch_order
from clipkit.errors import InputError

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


def test_balanced_classes_are_drawn_equally_often() -> None:
    """90 cats, 9 dogs and 1 owl: 100 draws an epoch stay 100, a third of each."""
    classes = ["cat"] * 90 + ["dog"] * 9 + ["owl"]
    draws = EpochDraws((100,), (1.0,)).balanced(classes, 1.0)
    counts = Counter[str]()
    for epoch in range(30):
        order = draws.order(seed=3, epoch=epoch)
        assert len(order) == 100
        counts.update(classes[row] for row in order.tolist())
    for name in ("cat", "dog", "owl"):
        assert counts[name] == pytest.approx(1000, abs=30)


def test_no_pair_of_a_class_is_left_out_for_good() -> None:
    classes = ["cat"] * 90 + ["owl"] * 10
    draws = EpochDraws((100,), (1.0,)).balanced(classes, 1.0)
    seen = Counter(row for epoch in range(9) for row in draws.order(seed=0, epoch=epoch).tolist())
    # 50 cats of 90 an epoch: 5 times each in 9; 50 owls of 10: 5 times each in one.
    assert {seen[row] for row in range(90)} == {5}
    assert {seen[row] for row in range(90, 100)} == {45}


def test_half_strength_is_square_root_sampling() -> None:
    """100 and 4 pairs: their roots are 10 and 2, so 104 draws are 86.7 and 17.3."""
    classes = ["cat"] * 100 + ["owl"] * 4
    draws = EpochDraws((104,), (1.0,)).balanced(classes, 0.5)
    rows = (row for epoch in range(30) for row in draws.order(seed=0, epoch=epoch).tolist())
    counts = Counter(classes[row] for row in rows)
    assert counts.total() == 30 * 104
    assert counts["owl"] == pytest.approx(30 * 104 / 6, abs=1.5)


def test_a_class_in_two_datasets_is_one_and_weights_still_count() -> None:
    """Of 20 cats in the first dataset and 20 in the second, those with weight 3 come thrice."""
    classes = ["cat"] * 20 + ["cat"] * 20 + ["dog"] * 20
    draws = EpochDraws((20, 40), (3.0, 1.0)).balanced(classes, 1.0)
    counts = Counter(draws.order(seed=0, epoch=0).tolist())
    # (20 * 3 + 40 * 1) / 2 = 50 draws of each class, three quarters of the cats from the first.
    assert sum(counts[row] for row in range(20)) == pytest.approx(37.5, abs=0.5)
    assert sum(counts[row] for row in range(20, 40)) == pytest.approx(12.5, abs=0.5)
    assert sum(counts[row] for row in range(40, 60)) == 50


def test_shares_of_a_mixture_are_of_pairs_or_of_tokens() -> None:
    """1000 pairs and 100: a fifth of the pairs from the small one is 220 of 1100."""
    draws = EpochDraws((1000, 100), (0.8, 0.2))
    drawn = draws.mixed().order(seed=0, epoch=0)
    assert len(drawn) == 1100
    assert int((drawn >= 1000).sum()) == 220
    # Captions four times as long: as many tokens come from a quarter of the pairs.
    drawn = EpochDraws((1000, 100), (1.0, 1.0)).mixed([10, 40]).order(seed=0, epoch=0)
    assert (int((drawn < 1000).sum()), int((drawn >= 1000).sum())) == (880, 220)


@given(
    groups=st.lists(st.tuples(st.integers(1, 30), st.floats(0.1, 3.0)), min_size=1, max_size=3),
    strength=st.floats(0, 1),
    data=st.data(),
)
def test_balancing_keeps_the_number_of_draws(
    groups: list[tuple[int, float]], strength: float, data: st.DataObject
) -> None:
    sizes, weights = zip(*groups, strict=True)
    classes = data.draw(st.lists(st.sampled_from("abcd"), min_size=sum(sizes), max_size=sum(sizes)))
    draws = EpochDraws(sizes, weights).balanced(classes, strength)
    assert draws.rows is not None
    assert sorted(draws.rows.tolist()) == list(range(sum(sizes)))
    expected = sum(size * weight for size, weight in groups)
    assert sum(np.multiply(draws.sizes, draws.weights)) == pytest.approx(expected)
    assert draws.num_drawn == pytest.approx(expected, abs=0.5)


@pytest.mark.parametrize(
    "sizes", [[1, 1, 3, 1], [1] * 900 + [5] * 100 + [9] * 10, [1] * 200 + [3] * 100 + [30] * 5]
)
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_rounding_adds_up_to_nothing(sizes: list[int], strength: float) -> None:
    """Classes of one to three draws an epoch, which rounded by itself each are fewer or more."""
    classes = [str(number) for number, size in enumerate(sizes) for _ in range(size)]
    total = sum(sizes)
    draws = EpochDraws((total,), (1.0,)).balanced(classes, strength)
    amounts = np.power(sizes, 1 - strength)
    amounts *= total / amounts.sum()
    drawn = np.zeros(total, np.int64)
    for epoch in range(20):
        counts = np.bincount(draws.order(seed=1, epoch=epoch), minlength=total)
        assert counts.sum() == total
        of_classes = np.add.reduceat(counts, np.cumsum([0, *sizes[:-1]]))
        assert (np.abs(of_classes - amounts) < 1).all()
        drawn += counts
        of_classes = np.add.reduceat(drawn, np.cumsum([0, *sizes[:-1]]))
        assert (np.abs(of_classes - (epoch + 1) * amounts) < 2.5).all()
        for mine in np.split(drawn, np.cumsum(sizes)[:-1]):
            assert mine.max() - mine.min() <= 1  # the pairs of a class take turns


def test_draws_are_known_by_weights_and_groups() -> None:
    plain = EpochDraws((4,), (1.0,))
    assert plain.fingerprint == "(1.0,)"  # as runs before groups had it
    one, other = (plain.balanced(list(classes), 1.0) for classes in ("abab", "aabb"))
    assert len({plain.fingerprint, one.fingerprint, other.fingerprint}) == 3
