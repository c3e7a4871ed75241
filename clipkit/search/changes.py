"""What happened in a folder since the catalog was written: a comparison of two lists."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from clipkit.search.entries import IndexedFile, SkippedFile


class FileState(Protocol):
    """A picture file as it lies in the folder now."""

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
    """The work that brings a catalog in step with a folder."""

    added: tuple[FileState, ...]  # new, or unreadable before and changed since
    changed: tuple[FileState, ...]  # indexed, and perhaps of other content now
    removed: tuple[str, ...]  # in the catalog, indexed or unreadable, and gone from the folder
    num_removed: int  # of those, how many were indexed
    familiar_sizes: frozenset[int]  # of pictures whose content may be found under another name
    num_unchanged: int
    still_unreadable: tuple[SkippedFile, ...]  # as they were when reading them failed


def find_changes(
    files: Iterable[FileState],
    images: Mapping[str, IndexedFile],
    skipped: Mapping[str, SkippedFile],
    *,
    unlisted: Iterable[str] = (),
) -> Changes:
    """Return what is new, changed, gone, unchanged and still unreadable.

    A file may have changed if its size or its time of change differs from what the catalog
    says, or if it was indexed so soon after a change that another one could carry the same time.
    What lies in a part of the folder that could not be listed counts as unchanged: a
    drive that fails for a moment must not cost the work of hours.

    Args:
        files: The pictures in the folder now.
        images: The indexed pictures by path.
        skipped: The unreadable files by path.
        unlisted: Paths of folders that could not be listed; those of files do no harm.

    Returns:
        The changes.
    """
    added: list[FileState] = []
    changed: list[FileState] = []
    still_unreadable: list[SkippedFile] = []
    num_unchanged = 0
    present: set[str] = set()
    for file in files:
        present.add(file.path)
        image, broken = images.get(file.path), skipped.get(file.path)
        if image is not None and _is_same(file, image):
            num_unchanged += 1
        elif broken is not None and _is_same(file, broken):
            still_unreadable.append(broken)
        else:
            (added if image is None else changed).append(file)
    unknown = tuple(unlisted)
    missing = [
        path
        for path in (*images, *skipped)
        if path not in present and not (unknown and _is_within(path, unknown))
    ]
    kept = len(images.keys() - present - set(missing))
    return Changes(
        added=tuple(added),
        changed=tuple(changed),
        removed=tuple(missing),
        num_removed=sum(path in images for path in missing),
        familiar_sizes=frozenset(
            images[path].size
            for path in (*missing, *(file.path for file in changed))
            if path in images
        ),
        num_unchanged=num_unchanged + kept,
        still_unreadable=tuple(still_unreadable),
    )


def _is_same(file: FileState, known: IndexedFile | SkippedFile) -> bool:
    """Return whether a file certainly is what the catalog saw."""
    return known.is_settled and (file.size, file.mtime_ns) == (known.size, known.mtime_ns)


def _is_within(path: str, folders: Iterable[str]) -> bool:
    """Return whether a path lies in one of these folders."""
    return any(path.startswith(f"{folder}/") for folder in folders)
