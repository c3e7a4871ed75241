"""Markdown as GitHub reads it."""

import pytest

from clipkit.markdown import table


def test_table_when_columns_are_text_and_numbers_then_each_has_its_side() -> None:
    lines = table(["probe", "n", "score"], [["colour", "40", ".5"], ["shape", "8", "1"]])

    assert lines == [
        "| probe | n | score |",
        "|---|--:|--:|",
        "| colour | 40 | .5 |",
        "| shape | 8 | 1 |",
    ]


@pytest.mark.parametrize(
    ("cell", "shown"),
    [("a|b", "a\\|b"), ("a\nb", "a b"), ("a\\", "a\\\\"), ("a\\|b", "a\\\\\\|b"), ("", "")],
)
def test_table_when_a_cell_would_end_itself_then_it_is_one_cell(cell: str, shown: str) -> None:
    assert table(["name"], [[cell]], num_text=1)[-1] == f"| {shown} |"
