"""A folder -> the picture files in it, what cannot be taken, and what was left out on purpose."""

import contextlib
import fnmatch
import functools
import heapq
import os
import re
import stat
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from clipkit.errors import ImageReadError, InputError
from clipkit.inputs.raw import RAW_EXTENSIONS
from clipkit.inputs.reasons import reason_for

IMAGE_EXTENSIONS = RAW_EXTENSIONS | {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib",
    ".tif", ".tiff", ".avif", ".avifs", ".heic", ".heif", ".heics", ".heifs", ".hif", ".jxl",
    ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".tga",
    ".qoi",
    # Of kinds that nothing here reads: they are skipped, with that for the reason.
    ".psd", ".psb", ".xcf", ".exr", ".hdr", ".jxr", ".wdp", ".hdp", ".jls",
}  # fmt: skip
"""Lower-case endings of the file names that find_images takes."""

_DRAWING_EXTENSIONS = frozenset({
    ".svg", ".svgz", ".eps", ".ai", ".wmf", ".emf", ".ico", ".cur", ".icns", ".xpm", ".xbm", ".dds",
    ".pcx",
})  # fmt: skip

INDEX_FOLDER = ".clipkit"
"""Name of the folder that holds an index kept beside its pictures; find_images never sees it."""


class FolderEntry(NamedTuple):
    """One picture file, as far as the folder knows it."""

    path: str  # relative to the folder, with / between its parts on every system
    size: int  # bytes
    mtime_ns: int  # time of the last change, nanoseconds since 1970


class LeftOut(NamedTuple):
    """A picture file or a folder that was left out on purpose, a folder with all that is in it."""

    path: str  # relative to the folder, with / between its parts
    reason: str  # a clause without a full stop


@dataclass(frozen=True)
class FolderScan:
    """What find_images saw; every list is sorted by path."""

    entries: list[FolderEntry]
    skipped: list[ImageReadError]  # looked like a picture or a folder but cannot be taken
    left_out: list[LeftOut]


def find_images(
    folder: Path, *, include_hidden: bool = False, exclude: Sequence[str] = ()
) -> FolderScan:
    """Return the picture files in a folder and the folders in it.

    Files count by their ending, in upper or lower case; nothing is opened. Links to files are
    taken. Links to folders are followed, each folder once: a folder that can be reached both
    directly and by a link appears under its own name. Folders that computers fill by themselves
    (thumbnails, recycle bins, caches) are left out. Names may hold any bytes: those that are not
    UTF-8 come as Python's file functions have them, and `os.fsencode` gives them back.

    Args:
        folder: Where to look.
        include_hidden: Whether names that start with a dot count.
        exclude: Patterns of what to leave out, as `matches_glob` takes them.

    Returns:
        The files, what looked like a picture file but cannot be taken, and what was left out.

    Raises:
        InputError: If the folder is missing, is not a folder, or cannot be opened.
    """
    scan = _Scan(Path(folder), include_hidden, tuple(exclude))
    try:
        scan.run()
    except OSError as error:
        raise InputError(_no_root(scan.root, error)) from error
    return FolderScan(
        entries=sorted(scan.entries),
        skipped=sorted(scan.skipped, key=lambda error: (error.path, error.reason)),
        left_out=sorted(scan.left_out),
    )


def matches_glob(path: str, pattern: str) -> bool:
    """Return whether a pattern matches a path, or a folder that the path lies in.

    As in .gitignore and rsync: ``*`` matches any letters, ``?`` one letter, ``[abc]``, ``[a-c]``
    and ``[!abc]`` one of some, none of them a /. A pattern without / is compared with every part
    of the path; one with /, if only in front as in /name or ./name, with the path from its start,
    and ``**`` in it stands for any number of folders, also none. Case matters. A / at the end
    changes nothing.

    Args:
        path: A relative path with / between its parts. A folder with a / at its end matches also
            if all that can be in it does.
        pattern: The pattern.

    Returns:
        Whether it matches; an empty pattern matches nothing.

    Example:
        >>> matches_glob("trips/2019/rome.jpg", "trips/**/*.jpg")
        True
        >>> matches_glob("trips/2019/rome.jpg", "2019")
        True
        >>> matches_glob("trips/2019/rome.jpg", "/2019")
        False
    """
    return _glob(pattern).match(path) is not None


@functools.lru_cache
def _glob(pattern: str) -> re.Pattern[str]:
    """Return what a path must start with to match a pattern."""
    parts = pattern.rstrip("/").split("/")
    if not parts[-1]:
        return re.compile("(?!)")
    if len(parts) == 1:
        parts = ["**", *parts]
    elif parts[0] in ("", "."):
        parts = parts[1:]
    steps = ["(?:[^/]+/)*" if part == "**" else _glob_part(part) + "/" for part in parts]
    if parts[-1] != "**":
        steps[-1] = steps[-1][:-1] + "(?:/|\\Z)"
    return re.compile("".join(steps))


def _glob_part(part: str) -> str:
    """Return the regular expression of a pattern between two slashes."""
    return "".join(
        {"*": "[^/]*", "?": "[^/]"}.get(token[0]) or _glob_letter(token)
        for token in re.findall(r"\*+|\?|\[!?\]?[^]]*\]|.", part, re.DOTALL)
    )


def _glob_letter(token: str) -> str:
    if len(token) == 1:
        return re.escape(token)
    # What fnmatch makes of brackets, without the end of text it adds: \z since Python 3.14.
    return "(?!/)" + re.sub(r"\\[Zz]$", "", fnmatch.translate(token))


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
    left_out: list[LeftOut] = field(default_factory=list)
    folders: list[str] = field(default_factory=lambda: [""])  # still to be read
    linked_folders: list[str] = field(default_factory=list)  # a heap, read after all others
    # Why a folder, known by device and inode, is not to be read once more.
    seen: dict[tuple[int, int], str] = field(default_factory=dict)

    def run(self) -> None:
        # Following a link upwards would take in all that lies beside the root.
        for parent in Path(os.path.realpath(self.root)).parents:
            with contextlib.suppress(OSError):
                self.seen[_identity(parent)] = "leads to a folder that the indexed one lies in"
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
        identity = _identity(location)
        if folder and identity in self.seen:
            self.left_out.append(LeftOut(folder, self.seen[identity]))
            return
        name = folder or "the indexed folder itself"
        self.seen[identity] = f"is another way to a folder that is indexed already: {name}"
        with os.scandir(location) as children:
            for child in children:
                self._visit(child, f"{folder}/{child.name}" if folder else child.name)

    def _visit(self, child: "os.DirEntry[str]", path: str) -> None:
        name = child.name
        is_picture = _has_ending(name, IMAGE_EXTENSIONS)
        is_drawing = _has_ending(name, _DRAWING_EXTENSIONS)
        try:
            is_folder = child.is_dir()
        except OSError:
            is_folder = False  # what is wrong is seen below
        is_known = is_folder or is_picture or is_drawing
        if not (is_known or child.is_symlink()) or name == INDEX_FOLDER:
            return
        reason = self._why_left_out(name, path, is_folder=is_folder)
        if reason:
            if is_known:
                self.left_out.append(LeftOut(path, reason))
        elif not is_folder:
            self._add_file(child, path, is_picture=is_picture)
        elif child.is_symlink():
            heapq.heappush(self.linked_folders, path)
        else:
            self.folders.append(path)

    def _add_file(self, child: "os.DirEntry[str]", path: str, *, is_picture: bool) -> None:
        try:
            status = child.stat()
        except OSError as error:
            # A link that leads nowhere is told of whatever its name: it may be a folder of
            # pictures on a disk that is not connected.
            leads_nowhere = isinstance(error, FileNotFoundError) and child.is_symlink()
            reason = "is a link that leads nowhere" if leads_nowhere else reason_for(error, b"")
            self._skip(path, reason)
            return
        if not is_picture:
            return
        if stat.S_ISREG(status.st_mode):
            self.entries.append(FolderEntry(path, status.st_size, status.st_mtime_ns))
        else:
            self._skip(path, "is not a regular file")

    def _why_left_out(self, name: str, path: str, *, is_folder: bool) -> str:
        if name.startswith("._"):
            return "is what macOS keeps about another file"
        if name.startswith(".") and not self.include_hidden:
            return "is hidden: its name starts with a dot"
        if is_folder and _is_junk(name.casefold()):
            return "is a folder that programs fill: thumbnails, caches, deleted files"
        for pattern in self.exclude:
            if matches_glob(path + "/" if is_folder else path, pattern):
                return f"matches the exclude pattern {pattern}"
        # Source code and programs come with thousands, so they are no errors to list one by one.
        if not is_folder and _has_ending(name, _DRAWING_EXTENSIONS):
            return "is a drawing, an icon or a texture, of which none are read"
        return ""

    def _skip(self, path: str, reason: str) -> None:
        self.skipped.append(ImageReadError(path, reason))


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _has_ending(name: str, endings: AbstractSet[str]) -> bool:
    stem, dot, ending = name.rpartition(".")
    # A blank at the end is invisible to whoever named the file.
    return stem != "" and (dot + ending).rstrip().lower() in endings


def _is_junk(lowered: str) -> bool:
    return lowered in _JUNK_FOLDERS or lowered.startswith(".trash")


def _no_root(folder: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"no such folder: {folder}; check how it is spelt, or whether its disk is connected"
    if isinstance(error, NotADirectoryError):
        return f"{folder} is a file: give the folder that holds the pictures"
    return f"the folder {folder} cannot be read: {reason_for(error, b'')}"
