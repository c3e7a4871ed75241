"""Ranks counted by hand, and against sorting."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clipkit.errors import InputError
from clipkit.metrics import ranking
from clipkit.metrics.retrieval import (
    hit_ranks,
    recall_at_k,
    retrieval_ranks,
    share_within,
)

# Four queries, eight items, two relevant ones each: 0 and 1 for query 0, 2 and 3 for query 1, …
SIMILARITIES = np.array(
    [
        [0.8, 0.1, 0.2, 0.3, 0.1, 0.0, 0.1, 0.2],  # item 0 is first: rank 0
        [0.9, 0.1, 0.5, 0.4, 0.6, 0.0, 0.1, 0.2],  # 0 and 4 come before item 2: rank 2
        [0.7, 0.6, 0.5, 0.4, 0.1, 0.2, 0.1, 0.3],  # 0, 1, 2, 3, 7 before item 5: rank 5
        [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5],  # all alike, 0 to 5 have lower numbers: rank 6
    ]
)
RELEVANT = np.repeat(np.eye(4, dtype=bool), 2, axis=1)
RANKS = [0, 2, 5, 6]


def test_ranks_by_hand() -> None:
    assert hit_ranks(SIMILARITIES, RELEVANT).tolist() == RANKS


@pytest.mark.parametrize(
    ("k", "expected"), [(1, 0.25), (2, 0.25), (3, 0.5), (5, 0.5), (6, 0.75), (7, 1.0), (8, 1.0)]
)
def test_recall_by_hand(k: int, expected: float) -> None:
    assert recall_at_k(SIMILARITIES, RELEVANT, k=k) == expected
    assert share_within(np.array(RANKS), k=k) == expected


def test_the_other_way_round_by_hand() -> None:
    # Of each item, which query it is closest to; items 0 and 1 belong to query 0, and so on.
    # Column 0: .8 .9 .7 .5, query 1 is before query 0: rank 1. Column 1: .1 .1 .6 .5: 2 and 3 are
    # before query 0, query 1 is as close but has a higher number: 2. Column 2: .2 .5 .5 .5: 0.
    # Column 3: .3 .4 .4 .5: 1. Column 4: .1 .6 .1 .5: queries 1, 3 and, as close, 0: 3.
    # Column 5: 0 0 .2 .5: 1. Column 6: .1 .1 .1 .5: 0. Column 7: .2 .2 .3 .5: 0.
    assert hit_ranks(SIMILARITIES.T, RELEVANT.T).tolist() == [1, 2, 0, 1, 3, 1, 0, 0]
    assert recall_at_k(SIMILARITIES.T, RELEVANT.T, k=1) == 3 / 8
    assert recall_at_k(SIMILARITIES.T, RELEVANT.T, k=2) == 6 / 8


def test_a_published_example() -> None:
    # Captions x images; captions 0 and 1 are of image 0, 2 and 3 of image 1. Text to image
    # at 1 is one half (captions 0 and 2), image to text is 1: .9 is image 0's, .55 image 1's.
    matrix = np.array([[0.9, 0.1], [0.2, 0.3], [0.4, 0.5], [0.6, 0.55]])
    relevant = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], dtype=bool)
    assert recall_at_k(matrix, relevant, k=1) == 0.5
    assert recall_at_k(matrix.T, relevant.T, k=1) == 1.0


def test_a_constant_model_scores_as_a_guess() -> None:
    assert recall_at_k(np.zeros((8, 8)), np.eye(8, dtype=bool), k=2) == 2 / 8


matrices = st.integers(1, 6).flatmap(
    lambda rows: st.integers(1, 7).flatmap(
        lambda columns: st.tuples(
            st.lists(
                st.lists(st.integers(0, 3), min_size=columns, max_size=columns),
                min_size=rows,
                max_size=rows,
            ),
            st.lists(
                st.sets(st.integers(0, columns - 1), min_size=1), min_size=rows, max_size=rows
            ),
        )
    )
)


@given(matrices)
def test_ranks_are_places_in_a_stable_sorting(case: tuple[list[list[int]], list[set[int]]]) -> None:
    matrix, answers = case
    expected = []
    for row, right in zip(matrix, answers, strict=True):
        ranking = sorted(range(len(row)), key=lambda item: (-row[item], item))
        expected.append(min(ranking.index(item) for item in right))
    relevant = np.array([[item in right for item in range(len(matrix[0]))] for right in answers])
    assert hit_ranks(np.array(matrix, dtype=float), relevant).tolist() == expected


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_blocks_change_nothing(seed: int, cells: int) -> None:
    rng = np.random.default_rng(seed)
    queries, items = rng.integers(-2, 3, (9, 3)), rng.integers(-2, 3, (7, 3))
    asked = np.concatenate([rng.permutation(9), rng.integers(0, 9, 5)])
    answers = rng.integers(0, 7, len(asked))
    relevant = np.zeros((9, 7), dtype=bool)
    relevant[asked, answers] = True
    expected = hit_ranks((queries @ items.T).astype(float), relevant)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_BLOCK_CELLS", cells)
        ranks = retrieval_ranks(
            queries.astype(np.float32), items.astype(np.float32), asked, answers
        )
    np.testing.assert_array_equal(ranks, expected)


def test_the_matrix_is_never_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "_BLOCK_CELLS", 20_000)
    rows, each = np.ones((1500, 1), dtype=np.float32), np.arange(1500)
    tracemalloc.start()
    retrieval_ranks(rows, rows, each, each)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1500 * 1500  # bytes; the similarities alone have four each


def test_a_query_without_an_answer_and_nan_are_refused() -> None:
    rows, each = np.eye(3, dtype=np.float32), np.arange(3)
    with pytest.raises(InputError, match="query 1 has none"):
        retrieval_ranks(rows, rows, np.array([0, 2]), np.array([0, 1]))
    for queries, items in ((rows * np.nan, rows), (rows, rows * np.nan)):
        with pytest.raises(InputError, match="got NaN"):
            retrieval_ranks(queries, items, each, each)


@pytest.mark.parametrize(
    ("similarities", "relevant", "k", "message"),
    [
        (np.zeros((2, 3)), np.ones((3, 2), dtype=bool), 1, r"one shape \(N, M\), got \(2, 3\)"),
        (np.zeros((2, 2)), np.array([[1, 0], [0, 0]], dtype=bool), 1, "query 1 has none"),
        (np.zeros((2, 2)), np.eye(2, dtype=bool), 3, "k must be between 1 and 2 items, got 3"),
        (np.zeros((2, 2)), np.eye(2, dtype=bool), 0, "k must be between 1 and 2 items, got 0"),
        (np.array([[1, np.nan]]), np.array([[True, False]]), 1, "got NaN"),
    ],
)
def test_what_makes_no_sense_is_told(
    similarities: NDArray[np.floating[Any]],
    relevant: NDArray[np.bool_],
    k: int,
    message: str,
) -> None:
    with pytest.raises(InputError, match=message):
        recall_at_k(similarities, relevant, k=k)
