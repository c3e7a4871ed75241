"""Several datasets of pairs as one, and subsets of a dataset."""

import functools
import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from clipkit.data.pair import Pair, PairDataset
from clipkit.errors import ImageReadError, InputError


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


def _joint_hash(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
