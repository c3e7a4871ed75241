"""The embeddings of a library on disk: rows in a file, appended and never rewritten.

A row that was once committed keeps its bytes for as long as the file exists, so a reader that
has read the catalog at any moment finds the vectors that belong to it. Rows of deleted pictures
are dead until the live ones are copied to a new file (`copy_rows`), which the catalog then names.
What lies in the file behind the rows the catalog knows is left over from a process that was
killed; the next writer overwrites it.

Shapes: N rows, K of them, D dimensions.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings
from clipkit.search.closing import Closing
from clipkit.search.schema import damaged_library

_ROW_TYPE = np.dtype("<f4")  # named by the file's suffix; another precision is another suffix
_SUFFIX = ".f32"
_BLOCK_BYTES = 32 << 20  # read at a time: large enough for full speed, small enough for any machine


def vectors_name(number: int) -> str:
    """Return the name of the vectors file with this number."""
    return f"vectors-{number}{_SUFFIX}"


def next_vectors_name(name: str) -> str:
    """Return the name that follows that of a vectors file."""
    return vectors_name(int(name.removeprefix("vectors-").removesuffix(_SUFFIX)) + 1)


def vectors_files(location: Path) -> Iterator[Path]:
    """Yield every vectors file in a library's directory, used or left over."""
    return location.glob(f"vectors-*{_SUFFIX}")


class VectorWriter(Closing):
    """Appends rows to a vectors file, used in a ``with`` block.

    Args:
        path: The file; created if it does not exist.
        embed_dim: D.
        num_rows: How many rows the catalog knows; the next one is written behind them.
    """

    def __init__(self, path: Path, embed_dim: int, num_rows: int) -> None:
        self.num_rows = num_rows
        self._embed_dim = embed_dim
        is_new = not path.exists()
        # Unbuffered, so that an interrupted write leaves nothing behind to be written later.
        self._file = path.open("xb" if is_new else "r+b", buffering=0)
        if is_new:
            _sync_directory(path.parent)

    def append(self, embeddings: Embeddings) -> range:
        """Write rows behind the last one.

        Args:
            embeddings: Shape (K, D), rows of norm 1.

        Returns:
            The numbers of the rows, in the order given.
        """
        rows = np.ascontiguousarray(embeddings, dtype=_ROW_TYPE)
        assert rows.ndim == 2 and rows.shape[1] == self._embed_dim, rows.shape
        self._file.seek(self.num_rows * self._embed_dim * _ROW_TYPE.itemsize)
        left = memoryview(rows.tobytes())
        while left:
            left = left[self._file.write(left) :]
        written = range(self.num_rows, self.num_rows + len(rows))
        self.num_rows = written.stop
        return written

    def flush(self) -> None:
        """Return when every row written so far would survive a power cut."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; rows not flushed may be lost in a power cut."""
        self._file.close()


class VectorReader:
    """Reads a vectors file through a memory map: nothing is loaded until it is needed.

    Args:
        path: The file.
        embed_dim: D.
        num_rows: N, how many rows the catalog knows.
        folder: The picture folder, for messages.

    Raises:
        FileNotFoundError: If there is no such file.
        LibraryError: If the file is shorter than the catalog says.
    """

    def __init__(self, path: Path, embed_dim: int, num_rows: int, folder: Path) -> None:
        self.num_rows = num_rows
        self._rows: NDArray[np.float32]
        if num_rows == 0:
            self._rows = np.empty((0, embed_dim), dtype=_ROW_TYPE)
            return
        expected = num_rows * embed_dim * _ROW_TYPE.itemsize
        found = path.stat().st_size
        if found < expected:
            raise damaged_library(folder, f"{path} has {found} bytes instead of {expected}")
        self._rows = np.memmap(path, dtype=_ROW_TYPE, mode="r", shape=(num_rows, embed_dim))

    def similarities(self, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the cosine of every row to one embedding, fast and good to about 1e-6.

        Args:
            embedding: Shape (D,), norm 1.

        Returns:
            float32, shape (N,), dead rows included. Higher is closer.
        """
        result = np.empty(self.num_rows, dtype=np.float32)
        for start, block in self._blocks():
            np.matmul(block, embedding, out=result[start : start + len(block)])
        return result

    def exact_similarities(
        self, rows: NDArray[np.int64], embedding: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Return the cosine of chosen rows to one embedding, the same wherever a row lies.

        A matrix product may round a row differently from place to place; here equal rows
        always get equal values, so ties are true ties.

        Args:
            rows: Row numbers, shape (K,).
            embedding: Shape (D,), norm 1.

        Returns:
            float64, shape (K,), in [-1, 1].
        """
        exact = embedding.astype(np.float64)
        result = np.empty(len(rows), dtype=np.float64)
        block_rows = _block_rows(len(embedding))
        for start in range(0, len(rows), block_rows):
            products = self.take(rows[start : start + block_rows]) * exact
            result[start : start + block_rows] = products.sum(axis=1)
        np.clip(result, -1.0, 1.0, out=result)
        return result

    def take(self, rows: NDArray[np.int64]) -> Embeddings:
        """Return a copy of chosen rows, shape (K, D)."""
        return np.array(self._rows[rows], dtype=np.float32)

    def _blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield (first row number, rows) until all rows have been given."""
        block_rows = _block_rows(self._rows.shape[1])
        for start in range(0, self.num_rows, block_rows):
            yield start, self._rows[start : start + block_rows]


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
    return max(1, _BLOCK_BYTES // (embed_dim * _ROW_TYPE.itemsize))


def _sync_directory(directory: Path) -> None:
    """Make a new file's name survive a power cut, where the system has a way to ask for it."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some network file systems have no such request; the catalog's check remains
    finally:
        os.close(descriptor)
