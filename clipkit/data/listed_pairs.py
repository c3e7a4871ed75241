"""A dataset of image files with their captions, its listing in one block of memory."""

import functools
import hashlib
import itertools
import os
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from clipkit.data.pair import Pair, file_size, file_stamp
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

    def digest(self) -> str:
        """Return a SHA-256 of the rows, 64 hex digits."""
        digest = hashlib.sha256(self._content)
        for ends in (self._text_ends, self._row_ends):
            digest.update(ends.tobytes())
        return digest.hexdigest()


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
        whole = os.path.normpath(os.path.join(self._root, self._rows[row][0]))  # noqa: PTH118
        return whole.removeprefix(self._root)

    def stamp(self, row: int) -> bytes:
        """Return the size and modification time of an image's file."""
        return file_stamp(self._folder / self._rows[row][0])

    def num_bytes(self, row: int) -> int | None:
        """Return the size of an image's file; None if it is not there."""
        return file_size(self._folder / self._rows[row][0])

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of the listing, the same wherever its folder is stored."""
        return self._rows.digest()
