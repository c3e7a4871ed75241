"""An order without repetition, against a toy from the literature's formula and plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipkit.embeddings import normalize_rows
from clipkit.errors import InputError
from clipkit.search.diversity import diversify

TOY_SCORES = [0.9, 0.88, 0.6, 0.5]
TOY_COSINES = [[1, 0.98, 0.1, 0.2], [0.98, 1, 0.12, 0.2], [0.1, 0.12, 1, 0.3], [0.2, 0.2, 0.3, 1]]


def reference(scores: list[float], cosines: np.ndarray, k: int, tradeoff: float) -> list[int]:
    """Return the order by the formula, one comparison at a time."""
    order = [max(range(len(scores)), key=lambda place: (scores[place], -place))]
    while len(order) < min(k, len(scores)):
        rest = [place for place in range(len(scores)) if place not in order]
        order.append(
            max(
                rest,
                key=lambda place: (
                    tradeoff * scores[place]
                    - (1 - tradeoff) * max(cosines[place, taken] for taken in order),
                    -place,
                ),
            )
        )
    return order


@pytest.mark.parametrize(("tradeoff", "expected"), [(0.7, [0, 2, 1, 3]), (0.5, [0, 2, 3, 1])])
def test_diversify_gives_the_orders_of_the_toy(tradeoff: float, expected: list[int]) -> None:
    rows = np.linalg.cholesky(TOY_COSINES)  # rows whose cosines are these
    assert diversify(TOY_SCORES, rows, k=4, tradeoff=tradeoff).tolist() == expected
    assert diversify(TOY_SCORES, rows, k=2, tradeoff=tradeoff).tolist() == expected[:2]


@given(st.integers(1, 12), st.integers(1, 14), st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]))
def test_diversify_equals_the_formula_in_loops(num_rows: int, k: int, tradeoff: float) -> None:
    rng = np.random.default_rng(num_rows * 100 + k)
    rows = normalize_rows(rng.standard_normal((num_rows, 5)))
    scores = rng.random(num_rows).tolist()
    found = diversify(scores, rows, k=k, tradeoff=tradeoff)
    assert found.tolist() == reference(scores, rows @ rows.T, k, tradeoff)


def test_diversify_by_relevance_alone_is_a_stable_sort() -> None:
    order = diversify([0.2, 0.9, 0.9, 0.5], np.eye(4), k=4, tradeoff=1.0)
    assert order.tolist() == [1, 2, 3, 0]


def test_diversify_by_variety_alone_begins_with_the_best() -> None:
    rows = [[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]
    assert diversify([0.1, 0.9, 0.5], rows, k=3, tradeoff=0.0).tolist() == [1, 0, 2]


def test_diversify_puts_copies_behind_everything_else() -> None:
    rows = np.eye(3)[[0, 0, 0, 1, 2]]
    scores = [0.9, 0.9, 0.9, 0.5, 0.4]
    assert diversify(scores, rows, k=5, tradeoff=0.5).tolist() == [0, 3, 4, 1, 2]


def test_diversify_nothing_is_empty() -> None:
    assert diversify([], np.empty((0, 3)), k=2).tolist() == []


@pytest.mark.parametrize(
    ("scores", "k", "tradeoff", "message"),
    [
        ([1.0], 1, 0.5, r"got \(1,\) and \(2, 2\)"),
        ([[1.0], [0.0]], 1, 0.5, r"got \(2, 1\) and"),
        ([1.0, np.nan], 1, 0.5, "finite"),
        ([1.0, 0.5], 0, 0.5, "k must be at least 1, got 0"),
        ([1.0, 0.5], 1, 1.1, "tradeoff must be between 0 and 1, got 1.1"),
        ([1.0, 0.5], 1, -0.1, "got -0.1"),
        ([1.0, 0.5], 1, np.nan, "got nan"),
    ],
)
def test_diversify_out_of_range_raises(
    scores: list[float], k: int, tradeoff: float, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        diversify(scores, np.eye(2), k=k, tradeoff=tradeoff)


def test_diversify_of_rows_that_are_none_raises() -> None:
    with pytest.raises(InputError, match=r"got \(2,\) and \(2,\)"):
        diversify([1.0, 0.5], np.ones(2), k=1)
