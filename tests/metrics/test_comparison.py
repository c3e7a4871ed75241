"""Intervals and paired changes against closed forms, published values and other people's code."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clipkit.metrics.comparison import (
    ItemValues,
    PairedChange,
    bootstrap_interval,
    class_mean_interval,
    clustered_share_interval,
    share_change,
    share_interval,
)

UNKNOWN = math.nan


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [
        # Newcombe 1998 ("Two-sided confidence intervals for the single proportion"), table I, 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval_is_the_published_one(
    right: int, count: int, low: float, high: float
) -> None:
    found = share_interval(np.array([1.0] * right + [0.0] * (count - right) + [UNKNOWN]))
    assert found.count == count
    assert found.mean == pytest.approx(right / count)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [
        # Newcombe 1998, table I, method 4.
        (81, 263, 0.2535, 0.3682),
        (15, 148, 0.0598, 0.1644),
        (0, 20, 0.0, 0.2005),
        (1, 29, 0.0018, 0.1963),
    ],
)
def test_clusters_of_one_have_the_published_interval_with_correction(
    right: int, count: int, low: float, high: float
) -> None:
    answers = np.array([1.0] * right + [0.0] * (count - right))
    found = clustered_share_interval(answers, count)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    turned = clustered_share_interval(1 - answers, count)
    assert (turned.low, turned.high) == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_clusters_count_as_many_images_as_differ_as_little_as_they_do() -> None:
    def of_images(right: int, count: int) -> tuple[float, float]:
        found = clustered_share_interval(np.array([1.0] * right + [0.0] * (count - right)), count)
        return found.low, found.high

    def of_clusters(shares: NDArray[np.float64], count: int) -> tuple[float, float]:
        found = clustered_share_interval(shares, count)
        return found.low, found.high

    # All images of a cluster are answered alike: they are no more than ten cases.
    assert of_clusters(np.array([1.0] * 3 + [0.0] * 7), 100) == of_images(3, 10)
    # Clusters that differ no more than by chance are as good as all their images.
    assert of_clusters(np.full(10, 0.3), 100) == pytest.approx(of_images(30, 100))
    # Where all are right nothing is seen of how alike images of a cluster are.
    assert of_clusters(np.ones(10), 100) == of_images(10, 10)
    # By hand: a mean of .5 whose variance is .0005 is that of 500 images.
    shares = 0.5 + np.array([1, -1, 1, -1]) * 0.0015**0.5
    assert of_clusters(shares, 1000) == pytest.approx(of_images(250, 500))


@given(st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=1, max_size=60))
def test_an_interval_holds_its_mean_and_stays_within_the_shares(values: list[float]) -> None:
    found = share_interval(np.array(values))
    assert 0 <= found.low <= found.mean + 1e-12
    assert found.mean - 1e-12 <= found.high <= 1


def test_lost_and_gained_images_are_counted_where_both_are_known() -> None:
    before = np.array([1.0, 1.0, 0.0, 0.0, 1.0, UNKNOWN, 1.0])
    after = np.array([1.0, 0.0, 1.0, 0.0, 0.0, 1.0, UNKNOWN])
    assert PairedChange.of(before, after) == PairedChange(lost=2, gained=1, count=5)


@pytest.mark.parametrize(
    ("lost", "count", "more_than"), [(0, 45, 0.02), (3, 45, 0.02), (9, 90, 0.1)]
)
def test_without_gains_the_loss_is_nearly_a_beta_distribution(
    lost: int, count: int, more_than: float
) -> None:
    """The shares of lost and of gained are sums of a Dirichlet: integrated numerically here."""
    steps = np.linspace(0, 1, 801)[1:-1]
    lost_shares, gained_shares = np.meshgrid(steps, steps, indexing="ij")
    same = 1 - lost_shares - gained_shares
    inside = same > 0
    logs = np.full(same.shape, -np.inf)
    logs[inside] = (
        (lost - 0.5) * np.log(lost_shares[inside])
        - 0.5 * np.log(gained_shares[inside])
        + (count - lost - 0.5) * np.log(same[inside])
    )
    weights = np.exp(logs - logs.max())
    expected = weights[lost_shares - gained_shares > more_than].sum() / weights.sum()
    found = PairedChange(lost, 0, count).probability_of_loss(more_than)
    assert found == pytest.approx(expected, abs=0.05)


def test_more_losses_are_more_probable_and_gains_speak_against() -> None:
    def probability(lost: int, gained: int) -> float:
        return PairedChange(lost, gained, 45).probability_of_loss(0.02)

    rising = [probability(lost, 0) for lost in range(6)]
    assert rising == sorted(rising)
    assert probability(4, 0) > probability(4, 1) > probability(4, 3)
    assert probability(1, 0) < 0.6  # one photograph of 45 decides nothing
    assert probability(9, 0) > 0.99


def test_of_many_images_a_small_loss_is_sure() -> None:
    assert PairedChange(40, 0, 1000).probability_of_loss(0.02) > 0.99
    assert PairedChange(12, 0, 1000).probability_of_loss(0.02) < 0.1


def test_even_changes_say_nothing() -> None:
    assert PairedChange(5, 5, 100).probability_of_loss(0.0) == pytest.approx(0.5, abs=0.02)


def test_the_bootstrap_of_a_mean_is_as_wide_as_its_standard_error() -> None:
    values = np.random.default_rng(1).normal(3, 2, 2000)
    found = bootstrap_interval(np.append(values, UNKNOWN))
    error = values.std() / math.sqrt(len(values))
    assert found.mean == pytest.approx(values.mean())
    assert found.count == 2000
    assert (found.low - found.mean) / error == pytest.approx(-1.96, abs=0.15)
    assert (found.high - found.mean) / error == pytest.approx(1.96, abs=0.15)


def test_the_bootstrap_draws_whole_groups() -> None:
    """Five captions of an image that are always right together say no more than one."""
    once = np.random.default_rng(2).integers(2, size=100).astype(float)
    images = np.repeat(np.arange(100), 5)
    alone = bootstrap_interval(once)
    together = bootstrap_interval(once.repeat(5), images)
    apart = bootstrap_interval(once.repeat(5))
    assert together == alone
    assert apart.high - apart.low < 0.6 * (alone.high - alone.low)


def test_only_shares_of_images_have_wilsons_interval() -> None:
    right = np.array([1.0, 1.0, 0.0, 1.0])
    assert ItemValues(right, np.arange(4)).interval() == share_interval(right)
    of_two = ItemValues(right, np.array([0, 0, 1, 1]))
    assert of_two.interval() == bootstrap_interval(right, of_two.items)
    assert of_two.mean == 0.75
    kept = of_two.among(np.array([1]))
    assert (kept.values.tolist(), kept.items.tolist()) == ([0.0, 1.0], [1, 1])


@pytest.mark.parametrize(
    ("cells", "low", "high"),
    [
        # Newcombe 1998 ("… based on paired data"), method 10.
        ((36, 12, 2, 0), 0.057, 0.340),
        # Fagerland, Lydersen & Laake 2017 ("Statistical analysis of contingency tables"), 8.
        ((1, 1, 7, 12), -0.507, -0.026),
    ],
)
def test_the_interval_of_a_change_is_newcombes(
    cells: tuple[int, ...], low: float, high: float
) -> None:
    """Images right in both, in the one only, in the other only, and in none."""
    one, other = np.repeat([1.0, 1.0, 0.0, 0.0], cells), np.repeat([1.0, 0.0, 1.0, 0.0], cells)
    found = share_change(other, one)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-4)
    assert found.mean == pytest.approx((cells[1] - cells[2]) / sum(cells))


@pytest.mark.parametrize("shares", [(0.8, 0.02, 0.1), (0.5, 0.0, 0.1), (0.4, 0.2, 0.2)])
def test_the_interval_of_a_change_holds_the_true_one_for_few_images(
    shares: tuple[float, float, float],
) -> None:
    """Over all tables of 12 images, each as probable as it is."""
    count, held = 12, 0.0
    probabilities = [*shares, 1 - sum(shares)]
    for cells in product(range(count + 1), repeat=4):
        if sum(cells) != count:
            continue
        weight = float(math.factorial(count))
        for cell, probability in zip(cells, probabilities, strict=True):
            weight *= probability**cell / math.factorial(cell)
        before = np.repeat([1.0, 1.0, 0.0, 0.0], cells)
        found = share_change(before, np.repeat([1.0, 0.0, 1.0, 0.0], cells))
        held += weight * (found.low <= shares[2] - shares[1] <= found.high)
    assert held > 0.94


def test_only_shares_of_images_have_newcombes_interval_of_a_change() -> None:
    items = np.arange(5)
    right, wrong = ItemValues(np.ones(5), items), ItemValues(np.zeros(5), items)
    assert wrong.change(right) == share_change(wrong.values, right.values)
    captions = np.array([0, 0, 1, 1, 2])
    found = ItemValues(np.zeros(5), captions).change(ItemValues(np.ones(5), captions))
    assert found == bootstrap_interval(np.ones(5), captions)
    losses = wrong.change(ItemValues(np.full(5, 0.5), items))
    assert losses == bootstrap_interval(np.full(5, 0.5), items)


def test_the_mean_recall_of_classes_stays_within_the_shares() -> None:
    labels = np.array([0] * 8 + [1, 1])
    found = class_mean_interval(np.ones(10, dtype=bool), labels)
    assert (found.mean, found.low, found.high) == (1.0, 1.0, 1.0)
    found = class_mean_interval(np.array([True] * 8 + [True, False]), labels)
    assert found.mean == 0.75
    assert 0.5 <= found.low < found.mean < found.high <= 1


def test_the_mean_recall_of_classes_varies_as_that_of_images_drawn_again() -> None:
    rng = np.random.default_rng(4)
    labels = np.repeat([0, 3, 5], [40, 15, 5])
    is_right = rng.random(60) < np.repeat([0.9, 0.5, 0.4], [40, 15, 5])
    means = []
    for _ in range(4000):
        drawn = rng.integers(60, size=60)
        recalls = [is_right[drawn][labels[drawn] == at] for at in {*labels[drawn]}]
        means.append(np.mean([recall.mean() for recall in recalls]))
    found = class_mean_interval(is_right, labels)
    assert found.low == pytest.approx(np.percentile(means, 2.5), abs=0.02)
    assert found.high == pytest.approx(np.percentile(means, 97.5), abs=0.02)
