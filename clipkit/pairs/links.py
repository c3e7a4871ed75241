"""Paths that lead to one file: symbolic links, hard links, a folder seen through another."""

import os
import stat
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import NamedTuple


class DistinctFiles(NamedTuple):
    """Files, each under one of its paths."""

    paths: list[str]  # in the order in which they were given
    others: dict[str, list[str]]  # one of these paths -> the other paths of the same file


def distinct_files(folder: Path, paths: Sequence[str], left_out: Sequence[str]) -> DistinctFiles:
    """Return each file under one path: one that is no symbolic link, else the first by name.

    Args:
        folder: What the paths count from.
        paths: Of files.
        left_out: Paths that are not to be returned, only named beside another path of their file.

    Returns:
        The files; what cannot be looked at counts as a file by itself.
    """
    # Two passes, for a million files: only those that can have a second path are kept in mind.
    several: set[Hashable] = set()
    for path in (*paths, *left_out):
        found = _status(folder / path, follow_links=False)
        if found is not None and (stat.S_ISLNK(found.st_mode) or found.st_nlink > 1):
            several.add(file_identity(folder / path))
    if not several:
        return DistinctFiles(list(paths), {})
    groups: dict[Hashable, list[str]] = {}
    for path in paths:
        identity = file_identity(folder / path)
        if identity in several:
            groups.setdefault(identity, []).append(path)
    others: dict[str, list[str]] = {}
    dropped: set[str] = set()
    for group in groups.values():
        first = min(group, key=lambda path: ((folder / path).is_symlink(), path))
        rest = sorted(path for path in group if path != first)
        dropped.update(rest)
        others[first] = rest
    by_identity = {file_identity(folder / first): first for first in others}
    for path in left_out:
        first_path = by_identity.get(file_identity(folder / path))
        if first_path is not None:
            others[first_path].append(path)
    return DistinctFiles(
        [path for path in paths if path not in dropped],
        {first: rest for first, rest in others.items() if rest},
    )


def file_identity(path: Path) -> Hashable:
    """Return what the paths of one file share, device and inode; its path if it is not there."""
    found = _status(path, follow_links=True)
    return str(path) if found is None else (found.st_dev, found.st_ino)


def _status(path: Path, *, follow_links: bool) -> os.stat_result | None:
    try:
        return path.stat(follow_symlinks=follow_links)
    except (OSError, ValueError):  # ValueError: a null character
        return None
