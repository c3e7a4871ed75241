"""A dataset of image files with their captions, its listing in one block of memory."""

import functools
import hashlib
import itertools
import os
from array import array
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.data.image_ends import file_hashes, file_sizes
from clipkit.data.pair import Pair, file_stamp
from clipkit.errors import ImageReadError


class TextRows:
    """Rows of texts in one block of UTF-8, made into strings when a row is read.

    A million rows take the bytes of their letters and 8 more for each text, and forked worker
    processes share them: counting references to strings would copy them page by page.

    Args:
        rows: The texts of each row; surrogates, as in file names that are not UTF-8, are kept.
    """

    def __init__(self, rows: Iterable[Sequence[str]]) -> None:
        content = bytearray()
        text_ends, row_ends = array("q", [0]), array("q", [0])
        for row in rows:
            for text in row:
                content += text.encode("utf-8", "surrogatepass")
                text_ends.append(len(content))
            row_ends.append(len(text_ends) - 1)
        self._content = bytes(content)
        self._text_ends = np.array(text_ends)  # with a 0 in front
        self._row_ends = np.array(row_ends)  # likewise, in texts

    @classmethod
    def concatenate(cls, several: Sequence["TextRows"]) -> "TextRows":
        """Return the rows of several, one after the other."""
        joined = cls(())
        joined._content = b"".join(rows._content for rows in several)
        joined._text_ends = _joined_ends([rows._text_ends for rows in several])
        joined._row_ends = _joined_ends([rows._row_ends for rows in several])
        return joined

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the rows as arrays, by name, for a file."""
        return {
            "content": np.frombuffer(self._content, dtype=np.uint8),
            "text_sizes": np.diff(self._text_ends).astype(np.uint32),
            "row_sizes": np.diff(self._row_ends).astype(np.uint32),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "TextRows":
        """Return rows from what :meth:`arrays` returned."""
        rows = cls(())
        rows._content = arrays["content"].tobytes()
        rows._text_ends = _ends(arrays["text_sizes"])
        rows._row_ends = _ends(arrays["row_sizes"])
        return rows

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._row_ends) - 1

    def __getitem__(self, row: int) -> tuple[str, ...]:
        """Return the texts of a row."""
        if not 0 <= row < len(self):
            raise IndexError(row)
        first, last = self._row_ends[row : row + 2].tolist()
        ends = self._text_ends[first : last + 1].tolist()
        return tuple(
            self._content[start:end].decode("utf-8", "surrogatepass")
            for start, end in itertools.pairwise(ends)
        )

    def first(self, row: int) -> str:
        """Return the first text of a row."""
        if not 0 <= row < len(self):
            raise IndexError(row)
        at = self._row_ends[row]
        start, end = self._text_ends[at : at + 2].tolist()
        return self._content[start:end].decode("utf-8", "surrogatepass")

    def digest(self) -> str:
        """Return a SHA-256 of the rows, 64 hex digits."""
        digest = hashlib.sha256(self._content)
        for ends in (self._text_ends, self._row_ends):
            digest.update(ends.tobytes())
        return digest.hexdigest()


def _ends(sizes: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return where things end that lie one after the other, with a 0 in front."""
    ends = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=ends[1:])
    return ends


def _joined_ends(several: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return _ends(np.concatenate([np.empty(0, dtype=np.int64), *map(np.diff, several)]))


class ListedPairs:
    """A dataset of pairs whose images are files.

    Args:
        folder: What relative paths count from.
        pairs: The path and the captions of each.
        skipped: Images that are left out, with the reasons; iterating over pairs may add to it.
    """

    class_names: tuple[str, ...] = ()

    def __init__(
        self,
        folder: Path,
        pairs: Iterable[tuple[str, Sequence[str]]],
        *,
        skipped: Sequence[ImageReadError] = (),
    ) -> None:
        self._folder = folder
        self._root = os.path.join(os.path.abspath(folder), "")  # noqa: PTH100, PTH118 - a million
        self._rows = TextRows((path, *captions) for path, captions in pairs)
        self.skipped = skipped

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._rows)

    def __getitem__(self, row: int) -> Pair:
        """Return a pair."""
        path, *captions = self._rows[row]
        image = self._folder / path
        return Pair(image, tuple(captions), str(image))

    def label(self, row: int) -> None:
        """Return None: the images have no class."""

    def class_name(self, row: int) -> str | None:
        """Return the name of a pair's class, None where it has none."""
        return None

    def local_name(self, row: int) -> str:
        """Return an image's path, relative to the folder if it lies there.

        However a table spells it: ``./a.png``, ``b/../a.png`` and the whole path are ``a.png``.
        """
        whole = os.path.normpath(os.path.join(self._root, self._rows.first(row)))  # noqa: PTH118
        return whole.removeprefix(self._root)

    def stamp(self, row: int) -> bytes:
        """Return the size and modification time of an image's file."""
        return file_stamp(self._folder / self._rows[row][0])

    def image_sizes(self) -> NDArray[np.int64]:
        """Return the sizes of the images' files."""
        return file_sizes(self._folder / self.local_name(row) for row in range(len(self)))

    def ends_hashes(self, rows: NDArray[np.integer]) -> NDArray[np.uint64]:
        """Return hashes of the first and last bytes of images' files."""
        return file_hashes(self._folder / self.local_name(row) for row in rows.tolist())

    def first_rows(self) -> None:
        """Return None: equal files are equal images."""

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of the listing, the same wherever its folder is stored."""
        return self._rows.digest()
