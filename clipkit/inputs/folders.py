"""Scanning a folder for image files; what is left out on purpose is decided in `exclusions`."""

import contextlib
import heapq
import os
import stat
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from clipkit.errors import ImageReadError, InputError
from clipkit.files import file_identity
from clipkit.inputs.exclusions import VECTOR_EXTENSIONS, Exclusions, has_extension, steps_to
from clipkit.inputs.extensions import IMAGE_EXTENSIONS
from clipkit.inputs.read_errors import UnreadableError, reason_for

INDEX_FOLDER = ".clipkit"
"""Name of the folder that holds an index kept beside its images; find_images never sees it."""


class FolderEntry(NamedTuple):
    """One image file, as its folder lists it."""

    path: str  # relative to the folder, with / between its parts on every system
    size: int  # bytes
    mtime_ns: int  # time of the last change, nanoseconds since 1970


class LeftOut(NamedTuple):
    """An image file or a folder that was left out on purpose, a folder with all that is in it."""

    path: str  # relative to the folder, with / between its parts
    reason: str  # a clause without a full stop
    same_as: str = ""  # the path under which the same file or folder is listed, if it is


@dataclass(frozen=True)
class FolderScan:
    """The outcome of a scan; every list is sorted by path."""

    entries: list[FolderEntry]
    skipped: list[ImageReadError]  # named like an image or a folder, but cannot be read
    left_out: list[LeftOut]

    @property
    def other_paths(self) -> dict[str, list[str]]:
        """The other paths of listed files that links give several paths, by the listed path."""
        links = [other for other in self.left_out if other.same_as]
        listed = {entry.path for entry in self.entries} if links else set()
        others: dict[str, list[str]] = {}
        for link in links:
            if link.same_as in listed:
                others.setdefault(link.same_as, []).append(link.path)
        return dict(sorted(others.items()))

    def skipped_in(self, folder: Path | str) -> list[ImageReadError]:
        """Return what cannot be read by paths that begin with the scanned folder's."""
        return [ImageReadError(Path(folder) / error.path, error.reason) for error in self.skipped]


def find_images(
    folder: Path, *, part: str = "", include_hidden: bool = False, exclude: Sequence[str] = ()
) -> FolderScan:
    """Return the image files in a folder and the folders in it.

    Files count by their ending, in upper or lower case; no image is opened. Links to files and
    folders are followed, each file and folder once: one that can be reached in several ways, by
    symbolic or hard links, appears under the first path, in alphabetical order, that is no
    symbolic link and leads through none; the others are left out. Folders that computers fill by
    themselves (thumbnails, recycle bins, caches) are left out, and so is what an ignore file
    (`exclusions.IGNORE_FILE`) in its folder or one above says. Names may hold any bytes: those that
    are not UTF-8 come as Python's file functions have them, and `os.fsencode` gives them back.

    Args:
        folder: The folder to scan.
        part: The only folder in it to look into, such as "trips/2019"; paths, patterns and ignore
            files are as for the whole.
        include_hidden: Whether names that start with a dot count, and folders in it that hold a
            `exclusions.NO_MEDIA_FILE`.
        exclude: Patterns of what to leave out, as `matches_glob` takes them.

    Returns:
        The files, what is named like an image file but cannot be read, and what was left out.

    Raises:
        InputError: If the folder, or the part of it, is missing, is not a folder, or cannot be
            opened.
    """
    root = Path(folder)
    exclusions = Exclusions(root, tuple(exclude), include_hidden=include_hidden)
    scan = _Scan(root, exclusions, part.strip("/"))
    try:
        scan.run()
    except (OSError, UnreadableError) as error:
        raise InputError(_no_root(scan.root / scan.part, error)) from error
    return FolderScan(
        entries=sorted(scan.entries),
        skipped=sorted(scan.skipped, key=lambda error: (error.path, error.reason)),
        left_out=sorted(scan.left_out),
    )


class _SharedFile(NamedTuple):
    """One path of a file that may have others."""

    is_link: bool  # whether the path is, or leads through, a symbolic link
    path: str
    entry: FolderEntry


@dataclass
class _Scan:
    """One walk through a folder; every path in it is relative to the root, with /."""

    root: Path
    exclusions: Exclusions
    part: str  # the only folder to look into; "" for the whole
    entries: list[FolderEntry] = field(default_factory=list)
    skipped: list[ImageReadError] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    # Two heaps of folders still to be read: those behind symbolic links come last.
    folders: list[str] = field(default_factory=list)
    linked_folders: list[str] = field(default_factory=list)
    is_behind_link: bool = False
    # The path of a folder that has been read, by its identity; None of one above the root.
    seen: dict[Hashable, str | None] = field(default_factory=dict)
    # By identity: files with several names, and those that were reached by a link.
    shared: dict[Hashable, list[_SharedFile]] = field(default_factory=lambda: defaultdict(list))

    def run(self) -> None:
        # Following a link upwards would take in all that lies beside the root.
        for parent in Path(os.path.realpath(self.root / self.part)).parents:
            with contextlib.suppress(OSError):
                self.seen[file_identity(parent)] = None
        if self._is_part_left_out():
            return
        self.folders.append(self.part)
        while self.folders or self.linked_folders:
            self.is_behind_link = self.is_behind_link or not self.folders
            folder = heapq.heappop(self.folders or self.linked_folders)
            try:
                self._read_folder(folder)
            except (OSError, UnreadableError) as error:
                if folder == self.part:
                    raise
                reason = reason_for(error, b"")
                self._skip(folder, f"is a folder that cannot be read: {reason}")
        self._list_shared_files()

    def _is_part_left_out(self) -> bool:
        """Return whether a rule of the whole folder leaves out the part, and list it as such."""
        for parent, folder in steps_to(self.part):
            self.exclusions.read_ignore_file(parent)
            reason = self.exclusions.reason(folder, is_folder=True)
            if reason:
                self.left_out.append(LeftOut(folder, reason))
                return True
        return False

    def _read_folder(self, folder: str) -> None:
        location = self.root / folder
        identity = file_identity(location)
        if folder != self.part and identity in self.seen:
            self.left_out.append(_left_out_folder(folder, self.seen[identity]))
            return
        self.seen[identity] = folder or "."
        with os.scandir(location) as children:
            self.exclusions.read_ignore_file(folder)
            for child in children:
                self._visit(child, f"{folder}/{child.name}" if folder else child.name)

    def _visit(self, child: "os.DirEntry[str]", path: str) -> None:
        name = child.name
        is_image = has_extension(name, IMAGE_EXTENSIONS)
        is_vector = has_extension(name, VECTOR_EXTENSIONS)
        try:
            is_folder = child.is_dir()
        except OSError:
            is_folder = False  # what is wrong is seen below
        is_known = is_folder or is_image or is_vector
        if not (is_known or child.is_symlink()) or name == INDEX_FOLDER:
            return
        reason = self.exclusions.reason(path, is_folder=is_folder)
        if reason:
            if is_known:
                self.left_out.append(LeftOut(path, reason))
        elif not is_folder:
            self._add_file(child, path, is_image=is_image)
        elif child.is_symlink():
            heapq.heappush(self.linked_folders, path)
        else:
            heapq.heappush(self.folders, path)

    def _add_file(self, child: "os.DirEntry[str]", path: str, *, is_image: bool) -> None:
        try:
            status = child.stat()
        except OSError as error:
            # A link that leads nowhere is reported whatever its name: it may be a folder of
            # images on a disk that is not connected.
            leads_nowhere = isinstance(error, FileNotFoundError) and child.is_symlink()
            reason = "is a link that leads nowhere" if leads_nowhere else reason_for(error, b"")
            self._skip(path, reason)
            return
        if not is_image:
            return
        if not stat.S_ISREG(status.st_mode):
            self._skip(path, "is not a regular file")
            return
        entry = FolderEntry(path, status.st_size, status.st_mtime_ns)
        is_link = self.is_behind_link or child.is_symlink()
        if is_link or status.st_nlink > 1:
            identity = file_identity(self.root / path, status)
            self.shared[identity].append(_SharedFile(is_link, path, entry))
        else:
            self.entries.append(entry)

    def _list_shared_files(self) -> None:
        """List each file that has several paths under one of them."""
        # Most folders have none, and then a million paths need not be looked up.
        known = {entry.path for entry in self.entries} if self.shared else set()
        root = os.path.realpath(self.root)
        for files in self.shared.values():
            first = min(files)
            # The target of a link has one name of its own, which was listed as any other.
            target = os.path.relpath(os.path.realpath(self.root / first.path), root)
            kept = target.replace(os.sep, "/") if first.is_link else first.path
            if first.is_link and kept not in known:
                kept = first.path
            if kept == first.path:
                self.entries.append(first.entry)
            self.left_out += [
                LeftOut(file.path, "is another way to a file that is indexed already", kept)
                for file in files
                if file.path != kept
            ]

    def _skip(self, path: str, reason: str) -> None:
        self.skipped.append(ImageReadError(path, reason))


def _left_out_folder(folder: str, known: str | None) -> LeftOut:
    """Return why a folder is left out that was read under another path."""
    if known is None:
        return LeftOut(folder, "leads to a folder that the indexed one lies in")
    return LeftOut(folder, "is another way to a folder that is indexed already", known)


def _no_root(folder: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"no such folder: {folder}; check how it is spelt, or whether its disk is connected"
    if isinstance(error, NotADirectoryError):
        return f"{folder} is a file: give the folder that holds the images"
    return f"the folder {folder} cannot be read: {reason_for(error, b'')}"
