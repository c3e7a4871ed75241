"""Search filters: what they take and what they refuse."""

from datetime import date, datetime
from typing import Any

import numpy as np
import pytest

from clipkit.errors import InputError
from clipkit.search.filters import IndexFilter, iso_start, may_pass, read_filter


@pytest.mark.parametrize(
    ("written", "start"),
    [
        ("2024", "2024-01-01"),
        (2024, "2024-01-01"),
        (np.datetime64("2024-06-15"), "2024-06-15"),
        ("2024-06", "2024-06-01"),
        (" 2024-06-15 ", "2024-06-15"),
        ("2024-06-15T00:00:00", "2024-06-15"),
        ("2024-06-15T12:30", "2024-06-15T12:30:00"),
        (date(2024, 6, 15), "2024-06-15"),
        (datetime(2024, 6, 15, 12, 30), "2024-06-15T12:30:00"),
    ],
)
def test_a_date_starts_with_its_first_second(written: Any, start: str) -> None:
    assert iso_start(written, "after") == start


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"after": "last year"}, r"after must be a year, month, .* got 'last year'"),
        ({"before": "2024-13"}, r"before must be a year, month, .* got '2024-13'"),
        ({"min_width": -1}, r"min_width must be at least 0, got -1"),
        ({"orientation": "upright"}, r'orientation must be "portrait", .* got \'upright\''),
    ],
)
def test_what_no_image_can_be_compared_with_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        IndexFilter(**wrong)


def test_options_are_the_fields_of_a_filter() -> None:
    assert read_filter({"path": "in/*", "not_camera": "canon"}) == IndexFilter(
        path="in/*", not_camera=["canon"]
    )
    expected = r"there is no filter 'pth'; did you mean path\? Filters are path, not_path"
    with pytest.raises(InputError, match=expected):
        read_filter({"pth": "in/*"})


def test_what_a_search_takes_beside_filters_is_told_too() -> None:
    expected = r"'sorted'; did you mean sort\? .* beside filters there are sort, k$"
    with pytest.raises(InputError, match=expected):
        read_filter({"sorted": "newest"}, ["sort", "k"])


@pytest.mark.parametrize(
    ("accepted", "passing"),
    [
        (IndexFilter(), "abc"),
        (IndexFilter(path="2024"), "ab"),
        (IndexFilter(path="2024/*.jpg"), "a"),
        (IndexFilter(not_path="2024/*.jpg"), "bc"),
        (IndexFilter(path="*.jpg", not_path=["2023", "x"]), "a"),
        (IndexFilter(path="2025"), ""),
        (IndexFilter(after=2025, before=1990, min_width=9000, camera="Canon"), "abc"),
        (IndexFilter(orientation="square", not_camera="Canon", path="2023"), "c"),
    ],
)
def test_a_path_alone_tells_what_surely_fails(accepted: IndexFilter, passing: str) -> None:
    paths = {"a": "2024/a.jpg", "b": "2024/trip/b.png", "c": "2023/c.jpg"}
    assert [name for name, path in paths.items() if may_pass(path, accepted)] == list(passing)
