"""Several datasets as one, subsets, and the order of an epoch."""

import functools
import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from clipkit.data.pair import Pair, PairDataset
from clipkit.errors import ImageReadError, InputError


class ConcatenatedPairs:
    """Sources one after the other.

    Args:
        datasets: At least one. Classes are kept only where all have the same.
    """

    def __init__(self, datasets: Sequence[PairDataset]) -> None:
        if not datasets:
            raise InputError("there must be at least one source of pairs, got none")
        self.datasets = tuple(datasets)
        self.sizes = tuple(len(dataset) for dataset in datasets)
        self.ends = np.cumsum(self.sizes)
        same = {dataset.class_names for dataset in datasets}
        self.class_names = datasets[0].class_names if len(same) == 1 else ()

    def __len__(self) -> int:
        """How many pairs."""
        return int(self.ends[-1])

    def __getitem__(self, row: int) -> Pair:
        """Return a pair."""
        place, row = self.find(row)
        return self.datasets[place][row]

    def label(self, row: int) -> int | None:
        """Return the class of a pair, None where the sources have no classes in common."""
        place, row = self.find(row)
        return self.datasets[place].label(row) if self.class_names else None

    def local_name(self, row: int) -> str:
        """Return what a pair is called within its own source."""
        place, row = self.find(row)
        return self.datasets[place].local_name(row)

    @property
    def skipped(self) -> list[ImageReadError]:
        """What looked like pairs but are none."""
        return [error for source in self.datasets for error in source.skipped]

    def stamp(self, row: int) -> bytes:
        """Return the stamp of a pair in its source."""
        place, row = self.find(row)
        return self.datasets[place].stamp(row)

    @functools.cached_property
    def fingerprint(self) -> str:
        """What identifies the listings."""
        return _joined(source.fingerprint for source in self.datasets)

    def find(self, row: int) -> tuple[int, int]:
        """Return which source a pair is of, counted from 0, and its row there."""
        if not 0 <= row < len(self):
            raise IndexError(row)
        place = int(np.searchsorted(self.ends, row, side="right"))
        return place, row - int(self.ends[place]) + self.sizes[place]


class PairSubset:
    """Some pairs of a source.

    Args:
        source: All of them.
        rows: Which, in the order they are to have.
        skipped: What the source skipped, if this part is to answer for it.
    """

    def __init__(
        self,
        source: PairDataset,
        rows: NDArray[np.integer],
        *,
        skipped: Sequence[ImageReadError] = (),
    ) -> None:
        self._source = source
        self._rows = rows
        self.skipped = skipped
        self.class_names = source.class_names

    def __len__(self) -> int:
        """How many pairs."""
        return len(self._rows)

    def __getitem__(self, row: int) -> Pair:
        """Return a pair."""
        return self._source[int(self._rows[row])]

    def label(self, row: int) -> int | None:
        """Return the class of a pair."""
        return self._source.label(int(self._rows[row]))

    def local_name(self, row: int) -> str:
        """Return what a pair is called within its source."""
        return self._source.local_name(int(self._rows[row]))

    def stamp(self, row: int) -> bytes:
        """Return the stamp of a pair in its source."""
        return self._source.stamp(int(self._rows[row]))

    @functools.cached_property
    def fingerprint(self) -> str:
        """What identifies the listing and the choice."""
        rows = np.ascontiguousarray(self._rows, dtype=np.int64)
        return _joined([self._source.fingerprint, hashlib.sha256(rows.tobytes()).hexdigest()])


# Kinds of random numbers, other than what the same seed is used for elsewhere.
_PLACES, _EPOCHS = 0x706C, 0x6570
_MOST_DRAWN = 1 << 31  # pairs: 16 GiB of their numbers alone


def epoch_order(
    sizes: Sequence[int], weights: Sequence[float], *, seed: int, epoch: int
) -> NDArray[np.int64]:
    """Return which pairs an epoch goes through, in which order.

    Args:
        sizes: How many pairs each source has.
        weights: How often each source's pairs are drawn, above 0: 2 draws each of them twice, 1.3
            each once and three in ten again. These are others in the next epoch, until all have
            had their turn: 0.5 draws one half and then the other. At least one pair of each
            source is drawn, or a small one would never be.
        seed: Of the run.
        epoch: Counted from 0.

    Returns:
        Rows of the sources one after the other, shape (about the sum of sizes x weights,), int64;
        equal arguments give equal orders, and each epoch has as many.

    Raises:
        InputError: If there were more than have room in memory.
    """
    expected = sum(size * weight for size, weight in zip(sizes, weights, strict=True))
    if expected > _MOST_DRAWN:
        raise InputError(
            f"an epoch may draw up to {_MOST_DRAWN:,} pairs, with these weights it were "
            f"{expected:.3g}: lower the weights of the largest places"
        )
    drawn, start = [np.empty(0, dtype=np.int64)], 0
    for place, (size, weight) in enumerate(zip(sizes, weights, strict=True)):
        whole = int(weight)
        rest = max(round((weight - whole) * size), 0 if whole else min(size, 1))
        turns = np.random.default_rng([seed, 0, place, _PLACES]).permutation(size)
        turn = np.arange(epoch * rest, (epoch + 1) * rest) % max(size, 1)
        drawn += [start + np.tile(np.arange(size), whole), start + turns[turn]]
        start += size
    return np.random.default_rng([seed, epoch, 0, _EPOCHS]).permutation(np.concatenate(drawn))


def _joined(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
