"""The rows that can be among the best ones, kept while the blocks of a scan go by.

What a scan computes of a block is looked at once and dropped, so that its memory does not grow with
the library.
"""

import numpy as np
from numpy.typing import NDArray

Bounded = tuple[NDArray[np.int64], NDArray[np.floating], NDArray[np.floating]]
"""Rows with the lowest and the highest score that each can have."""

_LEAST_KEPT = 4096  # rows, before those that are out of question are dropped


class BestRows:
    """Rows whose score can be among the highest, by bounds of the scores.

    Args:
        num_wanted: How many of the highest, at least 1.
    """

    def __init__(self, num_wanted: int) -> None:
        self._num_wanted = num_wanted
        self._parts: list[Bounded] = []
        self._num_kept = 0
        self._limit = _LEAST_KEPT
        self.threshold = float(-np.inf)

    def add(
        self, rows: NDArray[np.int64], lowest: NDArray[np.floating], highest: NDArray[np.floating]
    ) -> None:
        """Look at some more rows.

        Args:
            rows: Their numbers, shape (K,), ascending and above all that were added before.
            lowest: The lowest score that each can have, shape (K,).
            highest: The highest, shape (K,).
        """
        places = np.flatnonzero(highest >= self.threshold)
        if not len(places):
            return
        self._parts.append((rows[places], lowest[places], highest[places]))
        self._num_kept += len(places)
        if self._num_kept > self._limit:
            self._drop()
            # At least as many come before the next time: dropping stays cheap where many are near.
            self._limit = max(_LEAST_KEPT, 2 * self._num_kept)

    def found(self) -> Bounded:
        """Return every row that can be among the best.

        Returns:
            Row numbers, ascending, with the lowest and the highest score of each: shape (K,) each.
        """
        self._drop()
        return self._parts[0] if self._parts else _nothing()

    def _drop(self) -> None:
        """Drop the rows whose highest score is below the lowest one of enough others."""
        if not self._parts:
            return
        rows, lowest, highest = (
            np.concatenate([part[place] for part in self._parts]) for place in range(3)
        )
        if len(rows) > self._num_wanted:
            place = len(rows) - self._num_wanted
            self.threshold = max(self.threshold, float(np.partition(lowest, place)[place]))
            kept = highest >= self.threshold
            rows, lowest, highest = rows[kept], lowest[kept], highest[kept]
        self._parts = [(rows, lowest, highest)]
        self._num_kept = len(rows)


def _nothing() -> Bounded:
    empty = np.empty(0, np.float32)
    return np.empty(0, np.int64), empty, empty
