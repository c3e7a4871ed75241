"""The order in which images are shown: by what fits, by date, by name or by size."""

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Literal, get_args

from clipkit.errors import InputError
from clipkit.search.store.records import ImageRow

ListingSort = Literal["newest", "oldest", "name", "largest"]
"""By when they were taken, or else last changed; by the name of the file; by pixels."""
Sort = Literal["best"] | ListingSort
"""In which order the best k are shown: by what fits, or as a listing is."""
LISTING_SORTS: tuple[ListingSort, ...] = get_args(ListingSort)
SORTS: tuple[Sort, ...] = ("best", *LISTING_SORTS)


def check_sort(sort: object, allowed: Sequence[str]) -> None:
    """Raise InputError unless an order is one of those that are allowed."""
    if sort not in allowed:
        raise InputError(f"sort must be one of {', '.join(allowed)}; got {sort!r}")


def order_of(records: Sequence[ImageRow], sort: Sort) -> list[int]:
    """Return the places of images in an order; those that it does not part stay as they are.

    Args:
        records: The images, best first or in the order of their paths.
        sort: The order; "best" leaves all as they are.

    Returns:
        Positions in `records`, each once.
    """
    if sort == "best":
        return list(range(len(records)))
    key, is_reversed = _KEYS[sort]
    return sorted(range(len(records)), key=lambda place: key(records[place]), reverse=is_reversed)


def _name(record: ImageRow) -> tuple[str, str]:
    name = PurePosixPath(record.path).name
    return name.casefold(), name


def _num_pixels(record: ImageRow) -> int:
    return (record.width or 0) * (record.height or 0)  # those of unknown size come last


_KEYS: dict[ListingSort, tuple[Callable[[ImageRow], str | int | tuple[str, str]], bool]] = {
    "newest": (lambda record: record.date, True),
    "oldest": (lambda record: record.date, False),
    "name": (_name, False),
    "largest": (_num_pixels, True),
}
