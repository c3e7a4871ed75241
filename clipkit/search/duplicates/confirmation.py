"""Confirming candidate pairs of near-duplicates: same pixels, not other shots, not companions.

Companions are two files of one shot that each hold what the other does not: a RAW file and the
JPEG beside it, the HEIC and the JPEG of a Live Photo, a RAW file and what was exported from it.
Other shots are images that were taken at different times, such as the frames of a burst.

Shapes: N images, E pairs.
"""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np

from clipkit.errors import ImageReadError
from clipkit.inputs.extensions import RAW_EXTENSIONS
from clipkit.inputs.metadata import Provenance, read_provenance
from clipkit.inputs.perceptual_hash import read_pyramid
from clipkit.progress import Progress
from clipkit.search.duplicates.clustering import Pairs
from clipkit.search.duplicates.pixel_comparison import is_copy
from clipkit.search.store.records import ImageFile

_MAX_VIEWS = 192  # kept in memory, 1 MB each at most
_MAX_FAILURES = 8  # in a row, after which an image is compared with no other that is less similar
# Others that an image is compared with at most: hundreds of frames of a still camera are all alike,
# and each of their pairs would take a twentieth of a second.
_MAX_COMPARED = 32

_HEIF_EXTENSIONS = frozenset({".heic", ".heif", ".hif"})
_JPEG_EXTENSIONS = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})

_QUARTER_HOUR = 15 * 60  # seconds: time zones differ by whole ones
_MAX_ZONE_DIFFERENCE = 26 * 3600  # seconds

_Result = TypeVar("_Result")


class Confirmation:
    """Opens the files of pairs and keeps what it has read of them for a while.

    Args:
        path_of: Where each file lies, by its path in the library.
        max_pixels: How many pixels of one image may be decoded. None: default_max_pixels().
        progress: Called after each pair.
    """

    def __init__(
        self,
        path_of: Mapping[str, Path],
        *,
        max_pixels: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._path_of = path_of
        self._progress = progress
        self.skipped: list[ImageReadError] = []
        read = functools.partial(read_pyramid, max_pixels=max_pixels)
        self._view = functools.lru_cache(_MAX_VIEWS)(lambda path: self._read(read, path))
        self._provenance = functools.cache(lambda path: self._read(read_provenance, path))

    def __call__(self, files: Sequence[ImageFile], pairs: Pairs) -> Pairs:
        """Return the pairs that are copies.

        The most similar go first, so each image is compared with the others from the most similar
        downwards. After eight others in a row that are no copies of it the rest is not compared:
        among thousands of pages on one template that keeps the work within bounds. Of more than 32
        copies the least similar are not compared either: they are in groups of their own.

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
            if failures[both].max() < _MAX_FAILURES and compared[both].max() < _MAX_COMPARED:
                compared[both] += 1
                is_confirmed[done] = self._is_copy(files[ends[0]], files[ends[1]])
                for end in ends:
                    failures[end] = 0 if is_confirmed[done] else failures[end] + 1
            if self._progress:
                self._progress(done + 1, len(order))
        confirmed = np.sort(order[is_confirmed])
        return Pairs(pairs.first[confirmed], pairs.second[confirmed], pairs.similarity[confirmed])

    def _is_copy(self, first: ImageFile, second: ImageFile) -> bool:
        if are_companions(first, second):
            return False
        source, other_source = self._provenance(first.path), self._provenance(second.path)
        if source and other_source and are_other_shots(source, other_source):
            return False
        view, other_view = self._view(first.path), self._view(second.path)
        return bool(view and other_view and is_copy(view, other_view))

    def _read(self, read: Callable[[Path], _Result], path: str) -> _Result | None:
        """Return what a function reads from a file; None if it cannot, which is reported once."""
        try:
            return read(self._path_of[path])
        except ImageReadError as error:
            if error.path not in {earlier.path for earlier in self.skipped}:
                self.skipped.append(error)
            return None


def are_companions(first: ImageFile, second: ImageFile) -> bool:
    """Return whether two files are of one shot and belong together.

    One must be a RAW file and the other in another format, or one HEIC and the other JPEG. Their
    names must begin alike: IMG_1.CR2 goes with IMG_1.jpg, IMG_1.CR2.jpg, IMG_1-edited.jpg and
    IMG_1_01.jpg, not with IMG_10.jpg. They must have been taken in the same second; where one of
    them does not say when, they must lie in one folder.

    Args:
        first: A file.
        second: Another.

    Returns:
        Whether they are.
    """
    paths = PurePosixPath(first.path), PurePosixPath(second.path)
    endings = {path.suffix.lower() for path in paths}
    is_heif_and_jpeg = bool(endings & _HEIF_EXTENSIONS) and bool(endings & _JPEG_EXTENSIONS)
    if len(endings) == 1 or not (endings & RAW_EXTENSIONS or is_heif_and_jpeg):
        return False
    stems = sorted((path.stem.casefold() for path in paths), key=len)
    if not re.fullmatch(re.escape(stems[0]) + r"([^0-9a-z].*)?", stems[1]):
        return False
    if first.taken_at and second.taken_at:
        return first.taken_at == second.taken_at
    return paths[0].parent == paths[1].parent


def are_other_shots(first: Provenance, second: Provenance) -> bool:
    """Return whether two files were taken at different times, as their cameras' clocks had it.

    A copy keeps the time of its original or loses it. Times that differ by a whole number of
    quarters of an hour, up to 26 hours, may be one time that was corrected for another time zone;
    they say nothing. Nor does a time without fractions of a second beside one with them.

    Args:
        first: What one file says of itself.
        second: What the other does.

    Returns:
        Whether both state when they were taken, and these times differ.
    """
    times = _time(first.shot_at), _time(second.shot_at)
    if times[0] is None or times[1] is None:
        return False
    apart = abs((times[0] - times[1]).total_seconds())
    if apart and (apart % _QUARTER_HOUR or apart > _MAX_ZONE_DIFFERENCE):
        return True
    fractions = first.shot_at_fraction, second.shot_at_fraction
    if fractions[0] is None or fractions[1] is None:
        return False
    # Decimals: "5" and "500" are the same.
    return fractions[0].rstrip("0") != fractions[1].rstrip("0")


def _time(text: str | None) -> datetime | None:
    match = re.match(r"(\d{4})\D(\d\d)\D(\d\d)\D(\d\d)\D(\d\d)\D(\d\d)", text or "")
    try:
        return datetime(*map(int, match.groups())) if match else None  # type: ignore[arg-type]
    except ValueError:
        return None
