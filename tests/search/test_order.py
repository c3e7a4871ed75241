"""Orders of images, by records that are written down here."""

import pytest

from clipkit.errors import InputError
from clipkit.search.order import SORTS, Sort, check_sort, order_of
from clipkit.search.store.records import ImageRow

NOON = 1_600_000_000_000_000_000  # nanoseconds: in 2020


def record(path: str, taken: str | None, size: tuple[int, int] | None) -> ImageRow:
    width, height = size or (None, None)
    return ImageRow(path, 1, NOON, 0, width=width, height=height, taken_at=taken)


RECORDS = [
    record("z/Beach.jpg", "2021-05-01", (40, 30)),
    record("a/castle.jpg", None, (100, 10)),  # of 2020, by its file
    record("a/apple.jpg", "2019-01-01T10:00:00", None),
    record("b/apple.jpg", "2021-05-01", (30, 40)),
]


@pytest.mark.parametrize(
    ("sort", "places"),
    [
        ("best", [0, 1, 2, 3]),
        ("newest", [0, 3, 1, 2]),  # the first two of one day, as they were
        ("oldest", [2, 1, 0, 3]),
        ("name", [2, 3, 0, 1]),  # capitals do not count, nor does the folder
        ("largest", [0, 3, 1, 2]),  # 1200, 1200 and 1000 pixels; of unknown size last
    ],
)
def test_each_order_leaves_what_it_does_not_part(sort: Sort, places: list[int]) -> None:
    assert order_of(RECORDS, sort) == places


def test_no_images_are_in_any_order() -> None:
    assert [order_of([], sort) for sort in SORTS] == [[]] * 5


def test_an_order_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match=r"sort must be one of best, newest.*got 'random'"):
        check_sort("random", SORTS)
