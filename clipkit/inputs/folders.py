"""A folder -> the picture files in it, and what looked like one but cannot be taken."""

import heapq
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from clipkit.errors import ImageReadError, InputError
from clipkit.inputs.raw import RAW_EXTENSIONS
from clipkit.inputs.reasons import reason_for

IMAGE_EXTENSIONS = RAW_EXTENSIONS | {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif",
    ".jp2", ".ppm", ".pgm", ".pbm", ".heic", ".heif",
}  # fmt: skip
"""Lower-case endings of the file names that find_images takes."""


class FolderEntry(NamedTuple):
    """One picture file, as far as the folder knows it."""

    path: str  # relative to the folder, with / between its parts on every system
    size: int  # bytes
    mtime_ns: int  # time of the last change, nanoseconds since 1970


@dataclass(frozen=True)
class FolderScan:
    """What find_images saw."""

    entries: list[FolderEntry]  # sorted by path
    skipped: list[ImageReadError]  # sorted by path; each says why


def find_images(
    folder: Path, *, include_hidden: bool = False, exclude: Sequence[str] = ()
) -> FolderScan:
    """Return the picture files in a folder and the folders in it.

    Files count by their ending, in upper or lower case; nothing is opened. Links to files are
    taken. Links to folders are followed, each folder once: a folder that can be reached both
    directly and by a link appears under its own name. Folders that computers fill by themselves
    (thumbnails, recycle bins, caches) are left out.

    Args:
        folder: Where to look.
        include_hidden: Whether names that start with a dot count.
        exclude: Patterns of what to leave out, with * ? and [..]; case matters. One without /
            is compared with the name of each file and folder, one with / with its whole path
            relative to the folder.

    Returns:
        The files, and what looked like a picture file but cannot be taken.

    Raises:
        InputError: If the folder is missing, is not a folder, or cannot be opened.
    """
    scan = _Scan(Path(folder), include_hidden, tuple(pattern.rstrip("/") for pattern in exclude))
    try:
        scan.run()
    except OSError as error:
        raise InputError(_no_root(scan.root, error)) from error
    return FolderScan(
        entries=sorted(scan.entries),
        skipped=sorted(scan.skipped, key=lambda error: (error.path, error.reason)),
    )


_JUNK_FOLDERS = frozenset(
    {
        "$recycle.bin",
        "@eadir",  # thumbnails of a NAS
        "__pycache__",
        "lost+found",
        "node_modules",
        "system volume information",
        "thumbnails",
        ".thumbnails",
    }
)


@dataclass
class _Scan:
    """One walk through a folder; every path in it is relative to the root, with /."""

    root: Path
    include_hidden: bool
    exclude: tuple[str, ...]
    entries: list[FolderEntry] = field(default_factory=list)
    skipped: list[ImageReadError] = field(default_factory=list)
    folders: list[str] = field(default_factory=lambda: [""])  # still to be read
    linked_folders: list[str] = field(default_factory=list)  # a heap, read after all others
    seen: set[tuple[int, int]] = field(default_factory=set)  # (device, inode) of folders read

    def run(self) -> None:
        while self.folders or self.linked_folders:
            folder = self.folders.pop() if self.folders else heapq.heappop(self.linked_folders)
            try:
                self._read_folder(folder)
            except OSError as error:
                if not folder:
                    raise
                reason = reason_for(error, b"")
                self._skip(folder, f"is a folder that cannot be read: {reason}")

    def _read_folder(self, folder: str) -> None:
        location = self.root / folder
        status = location.stat()
        identity = (status.st_dev, status.st_ino)
        if identity in self.seen:
            return
        self.seen.add(identity)
        with os.scandir(location) as children:
            for child in children:
                path = f"{folder}/{child.name}" if folder else child.name
                if not self._is_left_out(child.name, path):
                    self._visit(child, path)

    def _visit(self, child: "os.DirEntry[str]", path: str) -> None:
        looks_like_picture = PurePosixPath(child.name).suffix.lower() in IMAGE_EXTENSIONS
        try:
            if child.is_dir():
                self._add_folder(child, path)
            elif looks_like_picture:
                self._add_file(child, path)
        except OSError as error:
            if looks_like_picture:
                self._skip(path, reason_for(error, b""))

    def _add_folder(self, child: "os.DirEntry[str]", path: str) -> None:
        name = child.name.casefold()
        if name in _JUNK_FOLDERS or name.startswith(".trash"):
            return
        if not _is_utf8(child.name):
            self._skip(path, "is a folder whose name is not valid UTF-8: rename it")
        elif child.is_symlink():
            heapq.heappush(self.linked_folders, path)
        else:
            self.folders.append(path)

    def _add_file(self, child: "os.DirEntry[str]", path: str) -> None:
        if not _is_utf8(child.name):
            self._skip(path, "has a name that is not valid UTF-8: rename it")
        elif child.is_file():
            status = child.stat()
            self.entries.append(FolderEntry(path, status.st_size, status.st_mtime_ns))
        elif child.is_symlink():
            self._skip(path, "is a link to a file that is not there")
        else:
            self._skip(path, "is not a regular file")

    def _is_left_out(self, name: str, path: str) -> bool:
        # ._name is what macOS keeps about a file on a foreign disk, never a picture.
        if name.startswith("." if not self.include_hidden else "._"):
            return True
        return any(
            fnmatchcase(path if "/" in pattern else name, pattern) for pattern in self.exclude
        )

    def _skip(self, path: str, reason: str) -> None:
        # A name that is not UTF-8 could not even be printed.
        printable = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        self.skipped.append(ImageReadError(printable, reason))


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _no_root(folder: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"no such folder: {folder}; check how it is spelt, or whether its disk is connected"
    if isinstance(error, NotADirectoryError):
        return f"{folder} is a file: give the folder that holds the pictures"
    return f"the folder {folder} cannot be read: {reason_for(error, b'')}"
