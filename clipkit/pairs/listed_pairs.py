"""Pictures that are files, each listed with its captions."""

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path

from clipkit.errors import ImageReadError
from clipkit.pairs.pair import Pair
from clipkit.pairs.picture_digest import file_stamp
from clipkit.pairs.text_rows import TextRows


class ListedPairs:
    """Pairs whose pictures are files.

    Args:
        folder: What relative paths count from.
        pairs: The path and the captions of each.
        skipped: What is no pair; listing the pairs may still add to it.
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
        self._rows = TextRows((path, *captions) for path, captions in pairs)
        self.skipped = skipped

    def __len__(self) -> int:
        """How many pairs."""
        return len(self._rows)

    def __getitem__(self, row: int) -> Pair:
        """Return a pair."""
        path, *captions = self._rows[row]
        picture = self._folder / path
        return Pair(picture, tuple(captions), str(picture))

    def label(self, row: int) -> None:
        """Return None: the pictures have no class."""

    def local_name(self, row: int) -> str:
        """Return a picture's path, relative to the folder if it lies there."""
        return self._rows[row][0]

    def stamp(self, row: int) -> bytes:
        """Return the size of a picture's file and when it was written."""
        return file_stamp(self._folder / self._rows[row][0])

    @functools.cached_property
    def fingerprint(self) -> str:
        """What identifies the listing, wherever its folder lies."""
        return self._rows.digest()
