"""The vectors file: a library's embeddings on disk, appended and never rewritten.

A row that was once committed keeps its bytes for as long as the file exists, so a reader that
has read the catalog at any moment finds the vectors that belong to it. Rows of deleted images
are dead until the live ones are copied to a new file (`copy_rows`), which the catalog then names.
What lies in the file behind the rows the catalog knows is left over from a process that was
killed; the next writer overwrites it.

Shapes: N rows, K of them, D dimensions.
"""

import itertools
import mmap
import os
import shlex
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings
from clipkit.errors import DamagedLibraryError
from clipkit.files import sync_directory
from clipkit.search.store.local.schema import damaged_library

# Half precision moves a cosine by less than 1e-4 and halves what a search has to read.
_SUFFIX = ".f16"
_CROPS = "crops"  # how the file of the crops begins, where the one of the wholes has "vectors"
_ROW_TYPES: dict[str, np.dtype[Any]] = {
    _SUFFIX: np.dtype("<f2"),
    ".f32": np.dtype("<f4"),  # in libraries of the first schema
}
_BLOCK_BYTES = 32 << 20  # read at a time: large enough for full speed, small enough for any machine
_HALF_EPSILON = 2.0**-11  # relative rounding of a number of half precision
NORM_ERROR = 0.01  # half precision moves a norm by less than 0.001

SCAN_ERROR = 2.25 * _HALF_EPSILON
"""More than `VectorReader.similarities` can be off, which is what rounding the query does."""


def vectors_name(number: int) -> str:
    """Return the name of the vectors file with this number."""
    return f"vectors-{number}{_SUFFIX}"


def next_vectors_name(name: str) -> str:
    """Return the name that follows that of a vectors file, whatever precision that one has."""
    return vectors_name(int(Path(name).stem.removeprefix("vectors-")) + 1)


def crops_name(name: str) -> str:
    """Return the name of the file of crops beside a vectors file."""
    return f"{_CROPS}-{Path(name).stem.removeprefix('vectors-')}{_SUFFIX}"


def is_of_old_precision(name: str) -> bool:
    """Return whether a vectors file should be copied to one of the precision in use."""
    return Path(name).suffix != _SUFFIX


def vectors_files(location: Path) -> Iterator[Path]:
    """Yield every file of vectors in a library's directory, of crops too, used or left over."""
    for kind in ("vectors", _CROPS):
        for path in location.glob(f"{kind}-*"):
            # Other files in the directory of an index are the user's, and are kept.
            if path.suffix in _ROW_TYPES and path.stem.removeprefix(f"{kind}-").isdecimal():
                yield path


def damaged_vectors(folder: Path, path: Path, reason: str) -> DamagedLibraryError:
    """Return the error for a file of vectors that cannot be trusted any more.

    Where it is that of the crops, only they have to be embedded again.
    """
    if not path.name.startswith(_CROPS):
        return damaged_library(folder, f"{path} {reason}")
    command = f"clipkit index {shlex.quote(str(folder))}"
    return DamagedLibraryError(
        f"the crops in the index of {folder} are damaged ({path} {reason}): run  {command} "
        f"--crops 1 , which drops them and keeps the whole images, and then  {command} --crops 5  "
        "(with the --model that made the index, if it was not the starter)"
    )


class VectorWriter(AbstractContextManager["VectorWriter"]):
    """Appends rows to a vectors file, used in a ``with`` block.

    Args:
        path: The file; created if it does not exist.
        embed_dim: D.
        num_rows: How many rows the catalog knows; the next one is written behind them.
    """

    def __init__(self, path: Path, embed_dim: int, num_rows: int) -> None:
        self.num_rows = num_rows
        self._row_type = _ROW_TYPES[path.suffix]
        self._embed_dim = embed_dim
        is_new = not path.exists()
        # Unbuffered, so that an interrupted write leaves nothing behind to be written later.
        self._file = path.open("x+b" if is_new else "r+b", buffering=0)
        if is_new:
            # Some network file systems have no such request: the check on opening remains.
            with suppress(OSError):
                sync_directory(path.parent)

    def append(self, embeddings: Embeddings) -> range:
        """Write rows behind the last one.

        Args:
            embeddings: Shape (K, D), rows of norm 1.

        Returns:
            The numbers of the rows, in the order given.
        """
        rows = np.ascontiguousarray(embeddings, dtype=self._row_type)
        assert rows.ndim == 2 and rows.shape[1] == self._embed_dim, rows.shape
        self._file.seek(self.num_rows * self._row_bytes)
        left = memoryview(rows.tobytes())
        while left:
            left = left[self._file.write(left) :]
        written = range(self.num_rows, self.num_rows + len(rows))
        self.num_rows = written.stop
        return written

    def take(self, row: int, count: int = 1) -> Embeddings:
        """Return a row as it was written, and those behind it up to a count, shape (count, D)."""
        self._file.seek(row * self._row_bytes)
        stored = np.frombuffer(self._file.read(count * self._row_bytes), dtype=self._row_type)
        return stored.astype(np.float32).reshape(count, self._embed_dim)

    def flush(self) -> None:
        """Flush to disk: every row written so far would survive a power cut."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; rows not flushed may be lost in a power cut."""
        self._file.close()

    def __exit__(self, *_: object) -> None:
        """Close the file, however the block ends."""
        self.close()

    @property
    def _row_bytes(self) -> int:
        return self._embed_dim * self._row_type.itemsize


class VectorReader:
    """Reads a vectors file: all of it through a memory map, block by block, or chosen rows.

    Args:
        path: The file.
        embed_dim: D.
        num_rows: N, how many rows the catalog knows.
        folder: The image folder, for messages.

    Raises:
        FileNotFoundError: If there is no such file.
        LibraryError: If the file is shorter than the catalog says.
    """

    def __init__(self, path: Path, embed_dim: int, num_rows: int, folder: Path) -> None:
        self.num_rows = num_rows
        self._folder, self._path = folder, path
        row_type = _ROW_TYPES[path.suffix]
        self._map: mmap.mmap | None = None
        self._file: BufferedReader | None = None
        self._rows: NDArray[np.floating] = np.empty((0, embed_dim), dtype=row_type)
        if num_rows == 0:
            return
        expected = num_rows * embed_dim * row_type.itemsize
        found = path.stat().st_size
        if found < expected:
            raise damaged_vectors(folder, path, f"has {found} bytes instead of {expected}")
        self._file = path.open("rb")
        weakref.finalize(self, self._file.close)
        self._map = mmap.mmap(self._file.fileno(), expected, access=mmap.ACCESS_READ)
        if hasattr(self._map, "madvise"):  # not on Windows
            self._map.madvise(mmap.MADV_SEQUENTIAL)  # halves the time from a disk
        self._rows = np.frombuffer(self._map, dtype=row_type).reshape(num_rows, embed_dim)

    def scan(
        self, directions: NDArray[np.float32], chosen: NDArray[np.int64] | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield the inner products of rows and a few directions, good to SCAN_ERROR.

        Args:
            directions: Shape (M, D), norms up to 1.
            chosen: Only these rows, ascending, shape (K,); None for all, dead rows included.

        Yields:
            The numbers of some rows, ascending, and their products, shape (M, number of rows).
        """
        block_rows = _block_rows(self._rows.shape[1])
        for start in range(0, self.num_rows, block_rows):
            stop = min(start + block_rows, self.num_rows)
            numbers = np.arange(start, stop)
            if chosen is not None:
                first, end = np.searchsorted(chosen, (start, stop))
                if first == end:
                    continue  # the block is not read
                numbers = chosen[first:end]
            yield numbers, self.products(directions, numbers)

    def products(
        self, directions: NDArray[np.float32], rows: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return the inner products of chosen rows and a few directions, good to SCAN_ERROR.

        Args:
            directions: Shape (M, D), norms up to 1.
            rows: Row numbers, ascending, shape (K,), K >= 1; neighbours are read without a copy.

        Returns:
            float32, shape (M, K).

        Raises:
            LibraryError: If a row holds what is no number.
        """
        queries = np.ascontiguousarray(directions, dtype=self._rows.dtype)
        first, stop = int(rows[0]), int(rows[-1]) + 1
        block = self._rows[first:stop] if stop - first == len(rows) else self._rows[rows]
        found = _products(queries, block)
        self._release(first, stop - first)
        if not np.isfinite(found).all():
            raise self._no_embeddings()
        return found

    def similarities(self, directions: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the inner products of every row and a few directions, good to SCAN_ERROR.

        Args:
            directions: Shape (M, D), norms up to 1.

        Returns:
            float32, shape (M, N), dead rows included. Higher is closer.
        """
        result = np.empty((len(directions), self.num_rows), dtype=np.float32)
        for numbers, products in self.scan(directions):
            result[:, numbers] = products
        return result

    def take(self, rows: NDArray[np.int64]) -> Embeddings:
        """Return a copy of chosen rows, shape (K, D)."""
        return self.stored(rows).astype(np.float32)

    def stored(self, rows: NDArray[np.int64]) -> NDArray[np.floating]:
        """Return a copy of chosen rows in the precision of the file, shape (K, D).

        They are not read through the map: where the system caches files in large pieces, every
        row touched there would count as megabytes of this process's memory.
        """
        found = np.empty((len(rows), self._rows.shape[1]), dtype=self._rows.dtype)
        starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1).tolist()  # of runs of neighbours
        for start, end in itertools.pairwise([*starts, len(rows)]):
            assert self._file is not None
            self._file.seek(int(rows[start]) * found[0].nbytes)
            if self._file.readinto(found[start:end].data) < found[start:end].nbytes:
                raise damaged_vectors(self._folder, self._path, f"ends before row {rows[end - 1]}")
        return found

    def check(self, rows: NDArray[Any]) -> None:
        """Raise LibraryError unless rows of the file, shape (..., D), are all of norm 1.

        What a disk returns after a crash or with bad blocks has the right size and other bytes.
        """
        flat = rows.reshape(-1, rows.shape[-1])
        block_rows = _block_rows(rows.shape[-1])
        for start in range(0, len(flat), block_rows):
            block = flat[start : start + block_rows].astype(np.float32)
            with np.errstate(all="ignore"):  # of what is no number the comparison is false
                is_one = np.abs((block * block).sum(axis=1) - 1) < 2 * NORM_ERROR
            if not is_one.all():
                raise self._no_embeddings()

    def _no_embeddings(self) -> DamagedLibraryError:
        return damaged_vectors(self._folder, self._path, "has rows that are no embeddings")

    def _release(self, start: int, num_rows: int) -> None:
        """Give the memory of rows back: a scan of a million needs no more of it than a block.

        They stay in the system's file cache, only no longer counted as this process's.
        """
        if self._map is None or not hasattr(self._map, "madvise"):  # Windows does it by itself
            return
        row_bytes = self._rows.shape[1] * self._rows.itemsize
        first = start * row_bytes // mmap.PAGESIZE * mmap.PAGESIZE
        self._map.madvise(mmap.MADV_DONTNEED, first, (start + num_rows) * row_bytes - first)


def _products(queries: NDArray[np.floating], block: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the inner products of M queries and K rows of one precision, shape (M, K)."""
    products: NDArray[np.float32]
    if block.dtype.itemsize == 4:
        products = np.matmul(queries, block.T)
        return products
    import numkong  # only here: NumPy has no fast product of half precision numbers

    products = np.asarray(numkong.cdist(queries, block, metric="dot"), dtype=np.float32)
    return products


def copy_rows(
    reader: VectorReader, rows: NDArray[np.int64], destination: Path, embed_dim: int
) -> None:
    """Write chosen rows to a new file, in the order given, and make it durable.

    Args:
        reader: The file to copy from.
        rows: Row numbers, shape (K,).
        destination: The new file; one left over from a killed process is replaced.
        embed_dim: D.
    """
    destination.unlink(missing_ok=True)
    block_rows = _block_rows(embed_dim)
    with VectorWriter(destination, embed_dim, 0) as writer:
        for start in range(0, len(rows), block_rows):
            writer.append(reader.take(rows[start : start + block_rows]))
        writer.flush()


def _block_rows(embed_dim: int) -> int:
    """Return how many rows to work on at a time."""
    return max(1, _BLOCK_BYTES // (embed_dim * 4))
