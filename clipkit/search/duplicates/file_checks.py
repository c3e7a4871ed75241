"""Checks that the files of a duplicate group are unchanged on disk, and are different files.

Whoever removes the spare copies of a group relies on the best one. So no file is reported that is
gone or was overwritten since, and a link to a file is never taken for a second file. Size and time
do not prove that a file is what was indexed: programs rewrite tags and keep both, and one scan can
be renamed over another. So the bytes of the files to report are read once more.
"""

import functools
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
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

_Check = Callable[[ImageFile, Path, os.stat_result], None]  # raises if the file is not as it was


def files_as_indexed(
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
    return _files_that_pass(_check_as_indexed, files, folder)


def with_same_bytes(group: DuplicateGroup, folder: Path) -> DuplicateGroup | None:
    """Return a group without the files whose bytes are not those that were compared.

    Args:
        group: Files with paths relative to the folder.
        folder: Where they lie.

    Returns:
        The group, the best first; None if it is down to one file.
    """
    return _group_of(group, folder, _check_bytes)


def still_as_indexed(group: DuplicateGroup, folder: Path) -> DuplicateGroup | None:
    """Return a group without the files that are gone, or have another size or time by now.

    No file is read: this is for the last moment before a group is shown.

    Args:
        group: Files with paths relative to the folder.
        folder: Where they lie.

    Returns:
        The group, the best first; None if it is down to one file.
    """
    return _group_of(group, folder, _check_state)


def _group_of(group: DuplicateGroup, folder: Path, check: _Check) -> DuplicateGroup | None:
    _, files, _ = _files_that_pass(check, group.images, folder)
    if len(files) < 2:
        return None
    return DuplicateGroup(group.kind, tuple(files), group.similarity)


class _Path(NamedTuple):
    """One path of a file as it is on the disk now."""

    file: ImageFile
    position: int  # in the input
    status: os.stat_result


def _files_that_pass(
    check: _Check, files: Sequence[ImageFile], folder: Path
) -> tuple[list[int], list[ImageFile], list[ImageReadError]]:
    """Return, as `files_as_indexed` does, the files that pass a check."""
    is_linked_folder = functools.cache(lambda parent: _is_linked(parent, folder))
    missing: list[ImageReadError] = []
    paths_of: dict[Hashable, list[_Path]] = defaultdict(list)  # by the identity of the file
    for position, file in enumerate(files):
        path = folder / file.path
        try:
            status = path.stat()
            check(file, path, status)
        except (OSError, UnreadableError) as error:
            missing.append(ImageReadError(path, _reason(error)))
            continue
        is_link = path.is_symlink() or is_linked_folder(path.parent)
        file = file._replace(is_link=is_link, num_names=status.st_nlink)
        paths_of[file_identity(path, status)].append(_Path(file, position, status))
    kept = [
        min(paths, key=lambda path: (path.file.is_link, path.file.path))
        for paths in _joined_across_devices(paths_of.values())
    ]
    kept.sort(key=lambda path: path.position)
    return [path.position for path in kept], [path.file for path in kept], missing


def _joined_across_devices(files: Iterable[list[_Path]]) -> Iterable[list[_Path]]:
    """Yield the paths of each file, those of one file on several devices together."""
    same_file: dict[Hashable, list[list[_Path]]] = defaultdict(list)
    for number, paths in enumerate(files):
        file, _, status = paths[0]
        is_telling = file.digest is not None and status.st_ctime_ns % _COARSEST_CLOCK_NS
        same_file[(file.digest, status.st_ctime_ns) if is_telling else number].append(paths)
    for same in same_file.values():
        if len({paths[0].status.st_dev for paths in same}) > 1:
            yield [path for paths in same for path in paths]
        else:
            yield from same


def _is_linked(parent: Path, folder: Path) -> bool:
    """Return whether a folder is reached through a symbolic link from one that it lies in."""
    return parent.resolve() != folder.resolve() / parent.relative_to(folder)


def _check_as_indexed(file: ImageFile, path: Path, status: os.stat_result) -> None:
    # Changed twice within a tick of the clock, a file keeps its time.
    check = _check_state if file.is_settled else _check_bytes
    check(file, path, status)


def _check_state(file: ImageFile, path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableError("is not a regular file")
    if (status.st_size, status.st_mtime_ns) != (file.num_bytes, file.mtime_ns):
        raise UnreadableError(_CHANGED)


def _check_bytes(file: ImageFile, path: Path, status: os.stat_result) -> None:
    _check_state(file, path, status)
    if file.digest is not None and hash_file(path) != file.digest:
        raise UnreadableError(_CHANGED)


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "is gone since it was indexed"
    return reason_for(error, b"")
