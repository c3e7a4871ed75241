"""What changed in a folder since it was indexed, and which images are missing, not removed.

The words for what became of a file are these, here and in all reports:

- unchanged: indexed, and as it was.
- added: not indexed before, under any path.
- changed: indexed, and perhaps of other content now.
- gone: indexed, and not found under its path any more. That is one of three things:
- moved: found under another path, by its content.
- missing: not found, in a way that disks which are not connected have. It stays in the index, no
  search shows it, and it is unchanged once it is back.
- removed: not found, as if somebody had deleted it. It is no longer indexed.
- unseen: indexed, where the folder could not be read. It stays in the index as missing does.
- skipped: cannot be read, with the reason. It is not indexed.
- left out: not to be indexed, such as what is hidden or excluded.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Protocol

from clipkit.search.store.records import ImageRow, IndexedFile, SkippedFile

_MIN_LOST = 10  # what somebody deletes by hand, looking at each, is less
_MIN_EMPTIED = 100  # what a person thinks of as one folder to delete is less


class FileState(Protocol):
    """An image file as it lies in the folder now."""

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
    """Return what is new, changed, gone, unchanged and still unreadable.

    A file may have changed if its size or its time of change differs from what the index
    says, or if it was indexed so soon after a change that another one could carry the same time.
    A file or a part of the folder that could not be read is not gone: a drive that fails
    for a moment must not cost the work of hours.

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
    """Return whether a file certainly is what the index has seen of it."""
    return known is not None and known.is_settled and has_same_size_and_time(file, known)


def has_same_size_and_time(file: FileState, known: _KnownFile | None) -> bool:
    """Return whether a file has the size and time of change that the index has of it."""
    return known is not None and (file.size, file.mtime_ns) == (known.size, known.mtime_ns)


@dataclass(frozen=True)
class DiskState:
    """What is known of the disks an indexed folder lies on."""

    is_empty: bool  # nothing that is an image was found at all
    is_another: bool  # the folder is on another disk than before, and less than half is as it was
    lost: frozenset[str]  # folders in it on disks of their own, without an image that was there


def find_missing(gone: Collection[str], known: Iterable[str], disks: DiskState) -> set[str]:
    """Return which of the images that are gone are missing, because their disk seems away.

    What a person deletes is removed without a word; what a pulled drive, a share that is not
    mounted or a failing network takes away comes back, and is kept. They look alike, so this is
    the rule. Gone images are missing, not removed,

    1. if nothing is left: a folder without a single image is what an unmounted disk looks like;
    2. in a folder inside the library that lies, or lay, on a disk of its own and has none of its
       images as they were;
    3. if another disk is in the place of the library: it has another number, and not half of
       the images are as they were;
    4. if they are more than half of all and at least 10: fewer are a handful that somebody
       deleted looking at them;
    5. in a folder that has lost all of its at least 100 images, with the folders in it: somebody
       who deletes that many at once can be asked, somebody who deletes a small folder is not.

    A mistake is cheap either way: missing images are forgotten by one command, and those removed
    keep their embeddings for a while.

    Args:
        gone: Paths that are indexed and were not found, no moved ones among them.
        known: Paths of all images that were there at the last sync, the gone ones among them.
        disks: What is known of the disks.

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
