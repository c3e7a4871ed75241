"""Permutation tests against closed forms and an enumeration of everything that could have been."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clipkit.errors import InputError
from clipkit.metrics.permutation import permutation_test

Counts = NDArray[np.intp]


@st.composite
def balanced_counts(draw: st.DrawFn, largest: int = 4) -> Counts:
    size = draw(st.integers(2, largest))
    images = draw(st.integers(1, 4))
    chosen = st.lists(st.integers(0, size - 1), min_size=images, max_size=images)
    return np.array([np.bincount(draw(chosen), minlength=size) for _ in range(size)])


def enumerated(groups: list[Counts]) -> list[int]:
    """Return how many answers are right under every assignment of prompts, one by one."""
    orders = [list(itertools.permutations(range(len(counts)))) for counts in groups]
    return [
        sum(
            int(counts[value, order[value]])
            for counts, order in zip(groups, chosen, strict=True)
            for value in range(len(counts))
        )
        for chosen in itertools.product(*orders)
    ]


@given(st.lists(balanced_counts(), min_size=1, max_size=3))
def test_it_is_what_trying_every_assignment_gives(groups: list[Counts]) -> None:
    found = permutation_test(groups)
    possible = np.array(enumerated(groups))
    assert found.right == sum(int(np.trace(counts)) for counts in groups)
    assert found.p_better == pytest.approx(np.mean(possible >= found.right))
    assert found.p_worse == pytest.approx(np.mean(possible <= found.right))
    assert found.chance == pytest.approx(possible.mean() / found.count)
    shares = possible / found.count
    assert np.mean(shares < found.low - 1e-9) <= 0.025 and np.mean(shares > found.high) <= 0.025


@given(balanced_counts())
def test_a_model_without_the_ability_gets_a_small_p_value_no_more_often_than_stated(
    counts: Counts,
) -> None:
    orders = itertools.permutations(range(len(counts)))
    p_values = np.array([permutation_test([counts[:, list(order)]]).p_better for order in orders])
    for level in (0.05, 0.2, 0.5):
        assert np.mean(p_values <= level) <= level


def test_two_of_two_values_prove_nothing_and_ten_pairs_do() -> None:
    right = np.array([[100, 0], [0, 100]])
    assert permutation_test([right]).p_better == 0.5
    assert permutation_test([right] * 10).p_better == 0.5**10
    assert permutation_test([right[::-1]] * 10).p_worse == 0.5**10


def test_a_model_that_always_answers_the_same_is_at_chance_exactly() -> None:
    always_first = np.zeros((5, 5), dtype=np.intp)
    always_first[:, 0] = 7
    found = permutation_test([always_first])
    assert (found.right / found.count, found.chance, found.p_value) == (0.2, 0.2, 1.0)
    assert (found.low, found.high) == (0.2, 0.2)


def test_of_many_values_as_many_are_right_as_permutations_have_fixed_points() -> None:
    size = 9
    counts = np.eye(size, dtype=np.intp)
    counts[3:] = np.roll(counts[3:], 1, axis=0)  # three of nine are right
    rencontres = [
        math.comb(size, fixed)
        * sum(
            (-1) ** k * math.factorial(size - fixed) / math.factorial(k)
            for k in range(size + 1 - fixed)
        )
        for fixed in range(size + 1)
    ]
    expected = sum(rencontres[3:]) / math.factorial(size)
    assert permutation_test([counts]).p_better == pytest.approx(expected, abs=0.003)
    assert permutation_test([np.eye(size, dtype=np.intp)]).p_better > 0


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([], "at least one group"),
        ([np.ones((2, 3), dtype=np.intp)], "shape"),
        ([np.ones((1, 1), dtype=np.intp)], "2 or more"),
        ([np.array([[1, 0], [0, 2]])], "equally many"),
        ([np.zeros((2, 2), dtype=np.intp)], "equally many"),
    ],
)
def test_what_is_no_balanced_group_is_refused(groups: list[Counts], message: str) -> None:
    with pytest.raises(InputError, match=message):
        permutation_test(groups)
