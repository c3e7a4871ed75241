"""Mixing datasets: several as one, subsets, and the shuffled order of an epoch by weights."""

import functools
import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from clipkit.data.pair import Pair, PairDataset
from clipkit.errors import ImageReadError, InputError

# Parts of seeds, so that these random numbers differ from others that the run's seed gives.
_TURNS, _SHUFFLE = 0x706C, 0x6570
_MAX_DRAWN = 1 << 31  # pairs: 16 GiB of their numbers alone


class ConcatenatedPairs:
    """Several datasets concatenated into one, as by torch's ConcatDataset.

    Args:
        datasets: At least one. Classes are kept only where all have the same.
    """

    def __init__(self, datasets: Sequence[PairDataset]) -> None:
        if not datasets:
            raise InputError("there must be at least one dataset of pairs, got none")
        self.datasets = tuple(datasets)
        self.sizes = tuple(len(dataset) for dataset in datasets)
        self.ends = np.cumsum(self.sizes)
        same = {dataset.class_names for dataset in datasets}
        self.class_names = datasets[0].class_names if len(same) == 1 else ()

    def __len__(self) -> int:
        """Return the number of pairs."""
        return int(self.ends[-1])

    def __getitem__(self, row: int) -> Pair:
        """Return a pair."""
        number, row = self.find(row)
        return self.datasets[number][row]

    def label(self, row: int) -> int | None:
        """Return the class of a pair, None where the datasets have no classes in common."""
        number, row = self.find(row)
        return self.datasets[number].label(row) if self.class_names else None

    def class_name(self, row: int) -> str | None:
        """Return the name of a pair's class in its own dataset, None where it has none."""
        number, row = self.find(row)
        return self.datasets[number].class_name(row)

    def local_name(self, row: int) -> str:
        """Return the name of a pair within its own dataset."""
        number, row = self.find(row)
        return self.datasets[number].local_name(row)

    @property
    def skipped(self) -> list[ImageReadError]:
        """What the datasets skipped while listing, with the reasons."""
        return [error for dataset in self.datasets for error in dataset.skipped]

    def stamp(self, row: int) -> bytes:
        """Return the stamp of a pair in its dataset."""
        number, row = self.find(row)
        return self.datasets[number].stamp(row)

    def image_sizes(self) -> NDArray[np.int64]:
        """Return the sizes of the encoded images, by their datasets."""
        return np.concatenate([dataset.image_sizes() for dataset in self.datasets])

    def ends_hashes(self, rows: NDArray[np.integer]) -> NDArray[np.uint64]:
        """Return hashes of the first and last bytes of images, by their datasets."""
        hashes = np.empty(len(rows), dtype=np.uint64)
        numbers = np.searchsorted(self.ends, rows, side="right")
        for number, dataset in enumerate(self.datasets):
            start = self.ends[number] - self.sizes[number]
            hashes[numbers == number] = dataset.ends_hashes(rows[numbers == number] - start)
        return hashes

    def first_rows(self) -> NDArray[np.int64] | None:
        """Return for each pair the first one with the same image, if all the datasets know it."""
        known = [rows for dataset in self.datasets if (rows := dataset.first_rows()) is not None]
        if len(known) < len(self.datasets):
            return None
        starts = self.ends - self.sizes
        return np.concatenate([rows + start for rows, start in zip(known, starts, strict=True)])

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of all listings."""
        return _joint_hash(dataset.fingerprint for dataset in self.datasets)

    def find(self, row: int) -> tuple[int, int]:
        """Return which dataset a pair is of, counted from 0, and its row there."""
        if not 0 <= row < len(self):
            raise IndexError(row)
        number = int(np.searchsorted(self.ends, row, side="right"))
        return number, row - int(self.ends[number]) + self.sizes[number]


class PairSubset:
    """A subset of the pairs of a dataset, as torch's Subset.

    Args:
        dataset: All of them.
        rows: The rows of the subset, in its order.
        skipped: What the dataset skipped, if this subset is to report it.
    """

    def __init__(
        self,
        dataset: PairDataset,
        rows: NDArray[np.integer],
        *,
        skipped: Sequence[ImageReadError] = (),
    ) -> None:
        self._dataset = dataset
        self._rows = rows
        self.skipped = skipped
        self.class_names = dataset.class_names

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._rows)

    def __getitem__(self, row: int) -> Pair:
        """Return a pair."""
        return self._dataset[int(self._rows[row])]

    def label(self, row: int) -> int | None:
        """Return the class of a pair."""
        return self._dataset.label(int(self._rows[row]))

    def class_name(self, row: int) -> str | None:
        """Return the name of a pair's class, None where it has none."""
        return self._dataset.class_name(int(self._rows[row]))

    def local_name(self, row: int) -> str:
        """Return the name of a pair within its dataset."""
        return self._dataset.local_name(int(self._rows[row]))

    def stamp(self, row: int) -> bytes:
        """Return the stamp of a pair in its dataset."""
        return self._dataset.stamp(int(self._rows[row]))

    def image_sizes(self) -> NDArray[np.int64]:
        """Return the sizes of the encoded images, by the dataset."""
        sizes: NDArray[np.int64] = self._dataset.image_sizes()[self._rows]
        return sizes

    def ends_hashes(self, rows: NDArray[np.integer]) -> NDArray[np.uint64]:
        """Return hashes of the first and last bytes of images, by the dataset."""
        return self._dataset.ends_hashes(self._rows[rows])

    def first_rows(self) -> NDArray[np.int64] | None:
        """Return for each pair the first one of the subset with the same image, if it is known."""
        known = self._dataset.first_rows()
        if known is None:
            return None
        _, firsts, numbers = np.unique(known[self._rows], return_index=True, return_inverse=True)
        rows: NDArray[np.int64] = firsts[numbers]
        return rows

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of the listing and of the choice."""
        rows = np.ascontiguousarray(self._rows, dtype=np.int64)
        return _joint_hash([self._dataset.fingerprint, hashlib.sha256(rows.tobytes()).hexdigest()])


def epoch_order(
    sizes: Sequence[int], weights: Sequence[float], *, seed: int, epoch: int
) -> NDArray[np.int64]:
    """Return the rows that an epoch trains on, shuffled.

    Args:
        sizes: How many pairs each dataset has.
        weights: How often each dataset's pairs are drawn, above 0: 2 draws each of them twice, 1.3
            each once and three in ten again. The next epoch draws others, until all were drawn
            equally often: 0.5 draws one half and then the other. At least one pair of each dataset
            is drawn, or a small one would never be.
        seed: Of the run.
        epoch: Counted from 0.

    Returns:
        Rows of the datasets one after the other, shape (about the sum of sizes x weights,), int64;
        equal arguments give equal orders, and each epoch has as many.

    Raises:
        InputError: If their row numbers would not fit in memory.
    """
    expected = sum(size * weight for size, weight in zip(sizes, weights, strict=True))
    if expected > _MAX_DRAWN:
        raise InputError(
            f"an epoch may draw up to {_MAX_DRAWN:,} pairs, with these weights it were "
            f"{expected:.3g}: lower the weights of the largest datasets"
        )
    drawn, start = [np.empty(0, dtype=np.int64)], 0
    for number, (size, weight) in enumerate(zip(sizes, weights, strict=True)):
        whole = int(weight)
        rest = max(round((weight - whole) * size), 0 if whole else min(size, 1))
        turns = np.random.default_rng([seed, 0, number, _TURNS]).permutation(size)
        turn = np.arange(epoch * rest, (epoch + 1) * rest) % max(size, 1)
        drawn += [start + np.tile(np.arange(size), whole), start + turns[turn]]
        start += size
    return np.random.default_rng([seed, epoch, 0, _SHUFFLE]).permutation(np.concatenate(drawn))


def _joint_hash(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
