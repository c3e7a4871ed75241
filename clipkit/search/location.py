"""Where the index of a folder lies: in the user's data directory, or inside the folder."""

import hashlib
import os
import shlex
import sqlite3
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from clipkit.arguments import check_path
from clipkit.errors import InputError, LibraryError
from clipkit.files import put_in_place
from clipkit.inputs.folders import INDEX_FOLDER
from clipkit.inputs.globs import NORMAL_FORMS
from clipkit.paths import data_directory, readable_name
from clipkit.search.store.base import VectorStore
from clipkit.search.store.local.schema import library_errors, open_catalog_file
from clipkit.search.store.local.store import CATALOG_NAME, LOCK_NAME, LocalStore
from clipkit.search.store.local.writer import home_hint, writer_lock

_OTHER_SPACE = "space-"  # how the directory of a further model's index begins


class SearchedPlace(Protocol):
    """An image folder and the store that its images are searched in."""

    @property
    def folder(self) -> Path:
        """As the user gave it, so that results can be shown that way."""

    @property
    def prefix(self) -> str:
        """The folder's path in the indexed one: "" if it is the same, or "a/b/"."""

    @property
    def store(self) -> VectorStore:
        """Records and vectors."""

    @property
    def location(self) -> Path | str:
        """Where the store is, for people."""

    @property
    def indexed_folder(self) -> Path:
        """The folder that was indexed: this one, or a parent folder of it."""

    def path(self, inner: str) -> Path:
        """Return the file of an image in the store."""

    def inner_paths(self, path: Path) -> set[str]:
        """Return the store's paths for a file."""


@dataclass(frozen=True)
class LibraryPlace:
    """The image folder of a library and the directory of its index."""

    folder: Path  # as the user gave it, so that results can be shown that way
    location: Path  # the directory of the index; it need not exist yet
    prefix: str = ""  # the folder's path in the indexed one: "" if it is the same, or "a/b/"

    @property
    def store(self) -> LocalStore:
        """The index: records and vectors."""
        return LocalStore(self.location, self.indexed_folder, self.folder)

    @property
    def catalog_path(self) -> Path:
        """The SQLite file."""
        return self.location / CATALOG_NAME

    @property
    def lock_path(self) -> Path:
        """The file a writer locks."""
        return self.location / LOCK_NAME

    @property
    def indexed_folder(self) -> Path:
        """The folder that was indexed: this one, or a parent folder of it."""
        if not self.prefix:
            return self.folder
        return self.folder.resolve().parents[self.prefix.count("/") - 1]

    def path(self, inner: str) -> Path:
        """Return the file of an image in the catalog, also of one outside of this folder."""
        if not inner.startswith(self.prefix):
            return self.indexed_folder / inner
        return self.folder / inner.removeprefix(self.prefix)

    def inner_paths(self, path: Path) -> set[str]:
        """Return the catalog's paths for a file; none if it is outside of the indexed folder.

        There may be several: of a symbolic link in the folder, that of the link and that of its
        target; of a file in a linked folder, the one it is reached by; and on a Mac a letter with
        an accent may be typed in one way and named in another.
        """
        indexed = self.indexed_folder.resolve()
        ways = [
            (indexed, "", path.parent.resolve() / path.name),
            (indexed, "", path.resolve()),
            (_spelled_out(self.folder), self.prefix, _spelled_out(path)),
        ]
        names = {
            prefix + spelling.relative_to(folder).as_posix()
            for folder, prefix, spelling in ways
            if spelling.is_relative_to(folder)
        }
        return names | {
            unicodedata.normalize(form, name) for name in names for form in NORMAL_FORMS
        }

    def make_location(self) -> None:
        """Create the directory of the index if there is none.

        Raises:
            LibraryError: If that is not possible.
        """
        try:
            self.location.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LibraryError(
                f"the index of {self.folder} cannot be written at {self.location} "
                f"({error.strerror}){home_hint(self.location)}"
            ) from error


def _spelled_out(path: Path) -> Path:
    """Return an absolute path without "..", its links as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps what is ".."


def libraries_home() -> Path:
    """Return the directory that holds one directory for every indexed folder."""
    return data_directory() / "libraries"


def default_location(folder: Path) -> Path:
    """Return the directory for the index of one folder, whether or not it exists.

    Args:
        folder: The image folder. Two spellings of one folder give the same location.

    Returns:
        A directory whose name a person can recognise and no other folder has.
    """
    resolved = os.path.normcase(folder.resolve())
    digest = hashlib.sha256(os.fsencode(resolved)).hexdigest()[:16]
    name = readable_name(Path(resolved).name, fallback="folder")
    return libraries_home() / f"{name}-{digest}"


def inner_location(folder: Path) -> Path:
    """Return the directory for an index that moves with its folder, whether or not it exists."""
    return folder.resolve() / INDEX_FOLDER


def space_location(location: Path, space_id: str) -> Path:
    """Return the directory for a further model's index, inside that of the first index.

    Args:
        location: The directory of a folder's first index.
        space_id: The space of the model.

    Returns:
        A directory that no other space has, whether or not it exists.
    """
    digest = hashlib.sha256(space_id.encode()).hexdigest()[:16]
    return location / f"{_OTHER_SPACE}{digest}"


def indexes_at(location: Path) -> Iterator[Path]:
    """Yield the directories of a folder's indexes, one for each model, the first index first.

    Args:
        location: The directory of the first one, which need not be there any more.

    Yields:
        Directories that have a catalog.
    """
    if (location / CATALOG_NAME).is_file():
        yield location
    others = location.glob(f"{_OTHER_SPACE}*/{CATALOG_NAME}")
    yield from sorted(path.parent for path in others)


def has_index(location: Path) -> bool:
    """Return whether there is an index of any model."""
    return any(indexes_at(location))


def known_locations() -> Iterator[Path]:
    """Yield the directories of all indexed folders in the user's data directory."""
    yield from filter(has_index, libraries_home().glob("*"))


@contextmanager
def all_locked(location: Path, folder: Path) -> Iterator[None]:
    """Hold the write locks of all indexes of a folder."""
    with ExitStack() as locks:
        for index in indexes_at(location):
            locks.enter_context(writer_lock(index / LOCK_NAME, folder))
        yield


def existing_location(folder: Path) -> Path:
    """Return the directory of a folder's indexes: the one inside it if there is one."""
    inner = inner_location(folder)
    return inner if has_index(inner) else default_location(folder)


def move_index_inside(place: LibraryPlace) -> None:
    """Move a folder's indexes from the user's data directory into the folder.

    Nothing happens if there is none, or if the folder holds one already.

    Args:
        place: The new location of the first of them.

    Raises:
        LibraryError: If it cannot be written there; then it stays where it was.
    """
    source = default_location(place.folder)
    if has_index(place.location) or not has_index(source):
        return
    import shutil  # only here: it takes 2 ms

    not_copied = shutil.ignore_patterns(f"{LOCK_NAME}*", f"{CATALOG_NAME}*")
    unfinished = place.location.with_name(f"{place.location.name}.part")
    with all_locked(source, place.folder):
        try:
            shutil.rmtree(unfinished, ignore_errors=True)  # left by a process that was killed
            shutil.copytree(source, unfinished, ignore=not_copied)
            for index in indexes_at(source):
                _copy_catalog(index, unfinished / index.relative_to(source), place.folder)
            if place.location.is_dir():  # empty, or it would not be without a catalog
                place.lock_path.unlink(missing_ok=True)
                place.location.rmdir()
            put_in_place(unfinished, place.location)
        except (OSError, shutil.Error, LibraryError) as error:
            raise LibraryError(
                f"the index of {place.folder} cannot be moved to {place.location}: {error}; it "
                f"stays at {source}"
            ) from error
    shutil.rmtree(source, ignore_errors=True)


def _copy_catalog(source: Path, destination: Path, folder: Path) -> None:
    """Copy a catalog by SQLite's backup: readers may have it open while it is copied."""
    path = destination / CATALOG_NAME
    with (
        library_errors(path, folder),
        closing(open_catalog_file(source / CATALOG_NAME, folder, create=False)) as catalog,
        closing(sqlite3.connect(path)) as copy,
    ):
        catalog.backup(copy)


def indexed_parents(folder: Path) -> Iterator[LibraryPlace]:
    """Yield the indexes that cover a folder: its own, then those of its parent folders.

    Args:
        folder: The image folder.

    Yields:
        Locations that have an index of any model, nearest first.
    """
    resolved = folder.resolve()
    for candidate in (resolved, *resolved.parents):
        inner = resolved.relative_to(candidate).as_posix()
        prefix = "" if inner == "." else f"{inner}/"
        place = LibraryPlace(folder, existing_location(candidate), prefix)
        if has_index(place.location):
            yield place


def existing_folder(folder: str | os.PathLike[str]) -> Path:
    """Return the folder as a path.

    Args:
        folder: The image folder as the user wrote it.

    Returns:
        The same path, unresolved, so that results can be shown as the user wrote it.

    Raises:
        InputError: If there is no folder there.
    """
    path = check_path(folder, "folder")
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{path}: there is no such folder{_hint_of_index(path)}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: this folder cannot be opened: {reason}") from error
    if not is_folder:
        raise InputError(f"{path}: this is a file, and a folder of images is needed")
    return path


def _hint_of_index(folder: Path) -> str:
    """Return a hint for a folder that does not exist and still has an index."""
    if not has_index(default_location(folder)):
        return ""
    return (
        "; its index is kept: connect its disk, or, if it is gone for good, run"
        f"  clipkit index {shlex.quote(str(folder))} --forget"
    )
