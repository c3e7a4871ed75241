import os
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipkit.data.listed_pairs import TextRows

TEXTS = st.text() | st.binary().map(os.fsdecode)  # names of files may be any bytes
ROWS = st.lists(st.lists(TEXTS, max_size=3).map(tuple), max_size=8)


@pytest.mark.slow
@given(ROWS)
def test_rows_come_back_as_they_were(rows: list[tuple[str, ...]]) -> None:
    packed = pickle.loads(pickle.dumps(TextRows(rows)))
    assert [packed[row] for row in range(len(packed))] == rows


@given(ROWS, ROWS)
def test_digests_are_equal_for_equal_rows_only(
    first: list[tuple[str, ...]], second: list[tuple[str, ...]]
) -> None:
    assert (TextRows(first).digest() == TextRows(second).digest()) == (first == second)


def test_digests_know_where_texts_and_rows_end() -> None:
    different: list[list[tuple[str, ...]]] = [
        [("ab",)],
        [("a", "b")],
        [("a",), ("b",)],
        [("ab",), ()],
        [("", "ab")],
    ]
    assert len({TextRows(rows).digest() for rows in different}) == len(different)


@pytest.mark.parametrize("row", [-1, 2])
def test_a_row_that_is_not_there_is_an_index_error(row: int) -> None:
    with pytest.raises(IndexError):
        TextRows([("a",), ("b",)])[row]
