"""Which pairs of images that are alike from far away are copies: all that can still be said.

Shapes: N images, E pairs.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from clipkit.errors import ImageReadError
from clipkit.inputs.provenance import read_provenance
from clipkit.inputs.views import read_view
from clipkit.progress import Progress
from clipkit.search.duplicates.companions import are_companions
from clipkit.search.duplicates.files import PictureFile
from clipkit.search.duplicates.linkage import Pairs
from clipkit.search.duplicates.second_look import is_copy
from clipkit.search.duplicates.shots import are_other_shots

_VIEWS = 192  # kept in memory, 1 MB each at most
_FAILURES = 8  # in a row, after which an image is compared with no other that is less alike
# Others that an image is compared with at most: hundreds of frames of a still camera are all alike,
# and each of their pairs would take a twentieth of a second.
_COMPARED = 32

_Result = TypeVar("_Result")


class Confirmation:
    """Opens the files of pairs and keeps what it has seen of them for a while.

    Args:
        where: Where each file lies, by its path in the library.
        max_pixels: How many pixels of one image may be decoded. None: default_max_pixels().
        progress: Called after each pair.
    """

    def __init__(
        self,
        where: Mapping[str, Path],
        *,
        max_pixels: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._where = where
        self._progress = progress
        self.skipped: list[ImageReadError] = []
        read = functools.partial(read_view, max_pixels=max_pixels)
        self._view = functools.lru_cache(_VIEWS)(lambda path: self._seen(read, path))
        self._provenance = functools.cache(lambda path: self._seen(read_provenance, path))

    def __call__(self, files: Sequence[PictureFile], pairs: Pairs) -> Pairs:
        """Return the pairs that are copies.

        The most alike go first, so each image is compared with the others from the most alike
        downwards. After eight others in a row that are no copies of it the rest is not looked at:
        among thousands of pages on one template that keeps the work within bounds. Of more than 32
        copies the least alike are not compared either: they are in groups of their own.

        Args:
            files: N files.
            pairs: E pairs.

        Returns:
            Some of them.
        """
        order = np.lexsort((pairs.second, pairs.first, -pairs.similarity))
        failures = np.zeros(len(files), dtype=int)
        compared = np.zeros(len(files), dtype=int)
        is_confirmed = np.zeros(len(order), dtype=bool)
        for done, edge in enumerate(order):
            ends = int(pairs.first[edge]), int(pairs.second[edge])
            both = list(ends)
            if failures[both].max() < _FAILURES and compared[both].max() < _COMPARED:
                compared[both] += 1
                is_confirmed[done] = self._is_copy(files[ends[0]], files[ends[1]])
                for end in ends:
                    failures[end] = 0 if is_confirmed[done] else failures[end] + 1
            if self._progress:
                self._progress(done + 1, len(order))
        confirmed = np.sort(order[is_confirmed])
        return Pairs(pairs.first[confirmed], pairs.second[confirmed], pairs.similarity[confirmed])

    def _is_copy(self, first: PictureFile, second: PictureFile) -> bool:
        if are_companions(first, second):
            return False
        source, other_source = self._provenance(first.path), self._provenance(second.path)
        if source and other_source and are_other_shots(source, other_source):
            return False
        view, other_view = self._view(first.path), self._view(second.path)
        return bool(view and other_view and is_copy(view, other_view))

    def _seen(self, read: Callable[[Path], _Result], path: str) -> _Result | None:
        try:
            return read(self._where[path])
        except ImageReadError as error:
            if error.path not in {earlier.path for earlier in self.skipped}:
                self.skipped.append(error)
            return None
