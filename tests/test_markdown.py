"""Markdown as GitHub reads it."""

import json

import pytest

from clipkit.markdown import data_json, data_span, table


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("猫 é ☕ | **", '"猫 é ☕ | **"'),
        ("a`b", '"a\\u0060b"'),
        ("</x>", '"\\u003c/x\\u003e"'),
        ("a\r\n\u2028b", '"a\\r\\n\\u2028b"'),
        ("\u202e\u200b\ufe0f", '"\\u202e\\u200b\\ufe0f"'),  # turns the direction, shows nothing
        ("\U000e0041", '"\\udb40\\udc41"'),  # a tag character: an A that nobody sees
        ("\udcff", '"\\udcff"'),  # an odd byte of a file name
        ('"\\', '"\\"\\\\"'),
    ],
)
def test_data_json_escapes_what_ends_something_and_what_nobody_sees(text: str, shown: str) -> None:
    assert data_json(text) == shown
    assert json.loads(shown) == text
    assert data_span(text) == f"`{shown}`"
