"""Which of the indexed files are there, as they were indexed, and which paths are one file.

Whoever removes the spare copies of a group relies on the best one. So nothing is named that is
gone or was overwritten since, and a link to a file is never taken for a second file.
"""

import functools
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from clipkit.errors import ImageReadError
from clipkit.inputs.reasons import UnreadableError, reason_for
from clipkit.search.duplicates.files import PictureFile
from clipkit.search.duplicates.groups import DuplicateGroup
from clipkit.search.inspection import hash_file


def present_files(
    files: Sequence[PictureFile], folder: Path
) -> tuple[list[int], list[PictureFile], list[ImageReadError]]:
    """Return one path for each file that is there with the content it was indexed with.

    Paths of one device and inode are one file: hard links, symbolic links, and a file that is
    seen through two folders. The path that is no symbolic link stands for them, else the first.
    On file systems without inode numbers, paths are one file if they lead to one place.

    Args:
        files: N files as they were indexed; paths relative to the folder.
        folder: Where they lie.

    Returns:
        Positions of the files that are kept, ascending; those files, with what is known of their
        links; and why each other one is left out, unless it is another path to a kept file.
    """
    is_linked_folder = functools.cache(lambda parent: _is_linked(parent, folder))
    missing: list[ImageReadError] = []
    known: dict[object, list[tuple[PictureFile, int]]] = {}
    for position, file in enumerate(files):
        path = folder / file.path
        try:
            status = path.stat()
            _check_unchanged(file, path, status)
        except (OSError, UnreadableError) as error:
            missing.append(ImageReadError(path, _reason(error)))
            continue
        is_link = path.is_symlink() or is_linked_folder(path.parent)
        identity = (status.st_dev, status.st_ino) if status.st_ino else path.resolve()
        named = file._replace(is_link=is_link, num_names=status.st_nlink)
        known.setdefault(identity, []).append((named, position))
    kept = [min(paths, key=lambda one: (one[0].is_link, one[0].path)) for paths in known.values()]
    kept.sort(key=lambda one: one[1])
    return [position for _, position in kept], [file for file, _ in kept], missing


def still_there(group: DuplicateGroup, folder: Path) -> DuplicateGroup | None:
    """Return a group without the files that are gone or changed since they were compared.

    Args:
        group: Files with paths relative to the folder.
        folder: Where they lie.

    Returns:
        The group, the best first; None if it is down to one file.
    """
    _, files, _ = present_files(group.pictures, folder)
    if len(files) < 2:
        return None
    return DuplicateGroup(group.kind, tuple(files), group.similarity)


def _is_linked(parent: Path, folder: Path) -> bool:
    """Return whether a folder is reached through a symbolic link from one that it lies in."""
    return parent.resolve() != folder.resolve() / parent.relative_to(folder)


def _check_unchanged(file: PictureFile, path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableError("is not a regular file")
    changed = UnreadableError("has changed since it was indexed")
    if (status.st_size, status.st_mtime_ns) != (file.num_bytes, file.mtime_ns):
        raise changed
    # Changed twice within a tick of the clock, a file keeps its time.
    if not file.is_settled and file.digest is not None and hash_file(path) != file.digest:
        raise changed


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "is gone since it was indexed"
    return reason_for(error, b"")
