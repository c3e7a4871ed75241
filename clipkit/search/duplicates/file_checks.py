"""Checks that files of a duplicate group are on disk as they were indexed.

Whoever removes the spare copies of a group relies on the best one. So nothing is named that is
gone or was overwritten since, and a link to a file is never taken for a second file. Size and time
do not prove that a file is what was indexed: programs rewrite tags and keep both, and one scan can
be renamed over another. So the bytes of what is to be named are read once more.
"""

import functools
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from clipkit.errors import ImageReadError
from clipkit.files import file_identity
from clipkit.inputs.read_errors import UnreadableError, reason_for
from clipkit.search.duplicates.groups import DuplicateGroup
from clipkit.search.ingest import hash_file
from clipkit.search.store.records import ImageFile

_CHANGED = "has changed since it was indexed"
_COARSEST_CLOCK_NS = 10_000_000  # of file systems that have no time of change of the entry (FAT)


_Check = Callable[[ImageFile, Path, os.stat_result], None]  # raises what is wrong


class _SeenFile(NamedTuple):
    """A path as it is on the disk now."""

    file: ImageFile
    position: int  # in what was asked for
    status: os.stat_result


def present_files(
    files: Sequence[ImageFile], folder: Path
) -> tuple[list[int], list[ImageFile], list[ImageReadError]]:
    """Return one path for each file that is there with the content it was indexed with.

    Paths of one device and inode are one file: hard links, symbolic links, and a file that is
    seen through two folders. So are paths of several devices with the same bytes and the same time
    of change of their entries: a disk that is mounted twice, or seen through another file system
    (overlay, mergerfs), has two numbers. The path that is no symbolic link stands for them, else
    the first. On file systems without inode numbers, paths are one file if they lead to one place.

    Args:
        files: N files as they were indexed; paths relative to the folder.
        folder: Where they lie.

    Returns:
        Positions of the files that are kept, ascending; those files, with what is known of their
        links; and why each other one is left out, unless it is another path to a kept file.
    """
    return _present(files, folder, _check_as_indexed)


def confirmed(group: DuplicateGroup, folder: Path) -> DuplicateGroup | None:
    """Return a group without the files that do not hold, to the last byte, what was compared.

    Args:
        group: Files with paths relative to the folder.
        folder: Where they lie.

    Returns:
        The group, the best first; None if it is down to one file.
    """
    return _left_of(group, folder, _check_bytes)


def still_there(group: DuplicateGroup, folder: Path) -> DuplicateGroup | None:
    """Return a group without the files that are gone or changed since it was confirmed.

    Args:
        group: Files with paths relative to the folder.
        folder: Where they lie.

    Returns:
        The group, the best first; None if it is down to one file.
    """
    return _left_of(group, folder, _check_state)


def _left_of(group: DuplicateGroup, folder: Path, check: _Check) -> DuplicateGroup | None:
    _, files, _ = _present(group.images, folder, check)
    if len(files) < 2:
        return None
    return DuplicateGroup(group.kind, tuple(files), group.similarity)


def _present(
    files: Sequence[ImageFile], folder: Path, check: _Check
) -> tuple[list[int], list[ImageFile], list[ImageReadError]]:
    """Return, as `present_files` does, the files that pass a check."""
    is_linked_folder = functools.cache(lambda parent: _is_linked(parent, folder))
    missing: list[ImageReadError] = []
    known: dict[object, list[_SeenFile]] = defaultdict(list)
    for position, file in enumerate(files):
        path = folder / file.path
        try:
            status = path.stat()
            check(file, path, status)
        except (OSError, UnreadableError) as error:
            missing.append(ImageReadError(path, _reason(error)))
            continue
        is_link = path.is_symlink() or is_linked_folder(path.parent)
        named = file._replace(is_link=is_link, num_names=status.st_nlink)
        known[file_identity(path, status)].append(_SeenFile(named, position, status))
    kept = [
        min(paths, key=lambda one: (one.file.is_link, one.file.path))
        for paths in _joined(known.values())
    ]
    kept.sort(key=lambda one: one.position)
    return [one.position for one in kept], [one.file for one in kept], missing


def _joined(files: Iterable[list[_SeenFile]]) -> Iterable[list[_SeenFile]]:
    """Return the paths of each file, those of one file on several devices together."""
    alike: dict[object, list[list[_SeenFile]]] = defaultdict(list)
    for number, paths in enumerate(files):
        file, _, status = paths[0]
        is_telling = file.digest is not None and status.st_ctime_ns % _COARSEST_CLOCK_NS
        alike[(file.digest, status.st_ctime_ns) if is_telling else number].append(paths)
    for same in alike.values():
        if len({paths[0].status.st_dev for paths in same}) > 1:
            yield [path for paths in same for path in paths]
        else:
            yield from same


def _is_linked(parent: Path, folder: Path) -> bool:
    """Return whether a folder is reached through a symbolic link from one that it lies in."""
    return parent.resolve() != folder.resolve() / parent.relative_to(folder)


def _check_state(file: ImageFile, path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableError("is not a regular file")
    if (status.st_size, status.st_mtime_ns) != (file.num_bytes, file.mtime_ns):
        raise UnreadableError(_CHANGED)


def _check_as_indexed(file: ImageFile, path: Path, status: os.stat_result) -> None:
    # Changed twice within a tick of the clock, a file keeps its time.
    check = _check_state if file.is_settled else _check_bytes
    check(file, path, status)


def _check_bytes(file: ImageFile, path: Path, status: os.stat_result) -> None:
    _check_state(file, path, status)
    if file.digest is not None and hash_file(path) != file.digest:
        raise UnreadableError(_CHANGED)


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "is gone since it was indexed"
    return reason_for(error, b"")
