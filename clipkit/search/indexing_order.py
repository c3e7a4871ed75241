"""The order in which new images are indexed: spread over the folder, or the newest first.

While an index grows it is searched already, so what comes first should stand for the whole; of a
search with filters, for all that can pass them.
"""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np

from clipkit.errors import InputError
from clipkit.search.changes import FileState

IndexingOrder = Literal["spread", "newest"]
"""Spread evenly over the sorted paths, or by the time of the file's last change."""

_GOLDEN_RATIO = (5**0.5 - 1) / 2  # its fractional part


def check_indexing_order(order: str) -> None:
    """Raise InputError unless a value names an order."""
    if order not in get_args(IndexingOrder):
        names = " or ".join(map(repr, get_args(IndexingOrder)))
        raise InputError(f"order must be {names}, got {order!r}")


def in_indexing_order(
    files: Sequence[FileState],
    order: IndexingOrder,
    comes_first: Callable[[str], bool] = lambda path: True,
) -> list[FileState]:
    """Return files in the order in which they are to be indexed.

    Spread means that of any number of the first ones each folder, and each stretch of names, has
    its share, give or take a few: the file at position i of the sorted paths comes by the
    fractional part of i times the golden ratio. No pattern of names falls in step with that, such
    as a RAW file beside each JPEG, as it would with steps of 2, 4 and 8.

    Args:
        files: In any order.
        order: Which.
        comes_first: Whether the file at a path is wanted before the others, as when somebody is
            searching such files already. Among these, and among the others, the order holds.

    Returns:
        All of them; the same for the same files.

    Source:
        Additive recurrence, a low-discrepancy sequence: Kuipers and Niederreiter, Uniform
        Distribution of Sequences, 1974, chapter 2.3.
    """
    by_path = sorted(files, key=lambda file: file.path)
    if order == "newest":
        ordered = sorted(by_path, key=lambda file: -file.mtime_ns)
    else:
        turns = np.arange(len(by_path)) * _GOLDEN_RATIO % 1
        ordered = [by_path[place] for place in np.argsort(turns).tolist()]
    return sorted(ordered, key=lambda file: not comes_first(file.path))
