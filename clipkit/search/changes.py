"""Changes in a folder since it was indexed, and the rule for missing versus removed images.

Here and in all reports, a file is one of these:

- unchanged: indexed, with the same content.
- added: not indexed before, under any path.
- changed: indexed, and its content may have changed.
- gone: indexed, and not found under its path any more. That is one of three things:
- moved: found under another path, by its content.
- missing: not found, probably because its disk is not connected. It stays in the index, is hidden
  from searches, and counts as unchanged once it is back.
- removed: not found, probably deleted. It is no longer indexed.
- unseen: indexed, in a folder that could not be read. It stays in the index, like a missing one.
- skipped: cannot be read, with the reason. It is not indexed.
- left out: deliberately not indexed, because it is hidden or excluded.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Protocol

from clipkit.search.store.records import ImageRow, IndexedFile, SkippedFile

_MIN_LOST = 10  # people delete fewer one by one
_MIN_EMPTIED = 100  # folders that people delete as a whole hold fewer


class FileState(Protocol):
    """An image file as it is in the folder now."""

    @property
    def path(self) -> str:
        """Relative to the folder, with "/" between its parts."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def mtime_ns(self) -> int:
        """Time of the last change, nanoseconds since 1970."""


@dataclass(frozen=True)
class Changes:
    """The work that brings an index in step with a folder."""

    added: tuple[FileState, ...]  # new, moved, or unreadable before and changed since
    changed: tuple[FileState, ...]
    unchanged: frozenset[str]
    gone: tuple[str, ...]
    unseen: tuple[str, ...]
    no_longer_unreadable: tuple[str, ...]  # unreadable before, and gone from the folder
    familiar_sizes: frozenset[int]  # of images whose content may be found under another name
    still_unreadable: tuple[SkippedFile, ...]  # as they were when reading them failed


def find_changes(
    files: Iterable[FileState],
    images: Mapping[str, IndexedFile],
    skipped: Mapping[str, SkippedFile],
    *,
    unlisted: Iterable[str] = (),
) -> Changes:
    """Return which files are new, changed, gone, unchanged and still unreadable.

    A file may have changed if its size or modification time differs from the index, or if it was
    indexed so soon after a change that another change could have the same time. A file or a part of
    the folder that could not be read does not count as gone: a drive that fails for a moment must
    not cost hours of encoding.

    Args:
        files: The images in the folder now.
        images: The indexed images by path.
        skipped: The unreadable files by path.
        unlisted: Paths of files and folders that are there and could not be read.

    Returns:
        The changes.
    """
    added: list[FileState] = []
    changed: list[FileState] = []
    unchanged: list[str] = []
    still_unreadable: list[SkippedFile] = []
    found: set[str] = set()
    for file in files:
        found.add(file.path)
        image, unreadable = images.get(file.path), skipped.get(file.path)
        if is_unchanged(file, image):
            unchanged.append(file.path)
        elif unreadable is not None and is_unchanged(file, unreadable):
            still_unreadable.append(unreadable)
        else:
            (added if image is None else changed).append(file)
    unknown = frozenset(unlisted)
    absent = [path for path in images if path not in found]
    unseen = {path for path in absent if is_at_or_in(path, unknown)} if unknown else set()
    gone = tuple(path for path in absent if path not in unseen)
    return Changes(
        added=tuple(added),
        changed=tuple(changed),
        unchanged=frozenset(unchanged),
        gone=gone,
        unseen=tuple(sorted(unseen)),
        no_longer_unreadable=tuple(
            path for path in skipped if path not in found and not is_at_or_in(path, unknown)
        ),
        familiar_sizes=frozenset(
            images[path].size for path in (*gone, *(file.path for file in changed))
        ),
        still_unreadable=tuple(still_unreadable),
    )


_KnownFile = IndexedFile | ImageRow | SkippedFile


def is_unchanged(file: FileState, known: _KnownFile | None) -> bool:
    """Return whether a file is certainly unchanged since it was indexed."""
    return known is not None and known.is_settled and has_same_size_and_time(file, known)


def has_same_size_and_time(file: FileState, known: _KnownFile | None) -> bool:
    """Return whether a file has the size and modification time that the index records."""
    return known is not None and (file.size, file.mtime_ns) == (known.size, known.mtime_ns)


@dataclass(frozen=True)
class DiskState:
    """Signs that a disk of an indexed folder is not connected."""

    is_empty: bool  # no image was found at all
    is_another: bool  # the folder is on another disk than before, and less than half is as it was
    lost: frozenset[str]  # folders in it on disks of their own, without an image that was there


def find_missing(gone: Collection[str], known: Iterable[str], disks: DiskState) -> set[str]:
    """Return which of the gone images are missing, because their disk seems disconnected.

    Images that a person deleted are removed from the index; those on an unplugged drive, an
    unmounted share or a failing network will come back, and are kept. The two look alike, so this
    rule decides. Gone images are missing, not removed,

    1. if nothing is left: a folder without a single image is what an unmounted disk looks like;
    2. in a subfolder that is, or was, on a disk of its own and has none of its images unchanged;
    3. if the library's folder is now on another disk: its device number differs, and fewer than
       half of the images are unchanged;
    4. if they are more than half of all and at least 10: people delete fewer one by one;
    5. in a folder that held at least 100 images, subfolders included, and has lost all of them:
       deleting so many at once is worth a confirmation, deleting a small folder is not.

    A mistake is cheap either way: missing images are forgotten by one command, and those removed
    keep their embeddings for a while.

    Args:
        gone: Paths that are indexed and were not found, no moved ones among them.
        known: Paths of all images that were there at the last sync, the gone ones among them.
        disks: The signs that a disk is not connected.

    Returns:
        The missing ones; the others were removed.
    """
    everything = set(known)
    is_most = 2 * len(gone) > len(everything)
    if disks.is_empty or disks.is_another or (is_most and len(gone) >= _MIN_LOST):
        return set(gone)
    missing = {path for path in gone if is_at_or_in(path, disks.lost)}
    if len(gone) >= _MIN_EMPTIED:
        emptied = _emptied_folders(set(gone), everything)
        missing |= {path for path in gone if is_at_or_in(path, emptied)}
    return missing


def _emptied_folders(gone: Set[str], known: Set[str]) -> set[str]:
    """Return the folders that have lost all of their images, if these were many."""
    lost = Counter(folder for path in gone for folder in steps_of(path))
    large = {folder for folder, number in lost.items() if number >= _MIN_EMPTIED}
    left = {folder for path in known - gone for folder in steps_of(path)} if large else set()
    return large - left


def is_at_or_in(path: str, places: Set[str]) -> bool:
    """Return whether a path is one of these, or lies in a folder that is."""
    return any(step in places for step in steps_of(path))


def steps_of(path: str) -> Iterator[str]:
    """Yield a path's folders, outermost first, and the path itself."""
    end = path.find("/")
    while end >= 0:
        yield path[:end]
        end = path.find("/", end + 1)
    yield path
