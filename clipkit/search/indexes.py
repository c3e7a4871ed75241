"""The indexes of a folder, one per model: finding them, also after a move, and removing them.

The first index is in the folder's own directory of the user's data, further ones in directories
inside that. Each has its own catalog, vectors and lock, and none depends on another.
"""

import dataclasses
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from clipkit.arguments import check_path
from clipkit.errors import InputError, LibraryError
from clipkit.inputs.folders import FolderEntry
from clipkit.search.changes import has_same_size_and_time
from clipkit.search.location import (
    LibraryPlace,
    all_locked,
    default_location,
    existing_folder,
    existing_location,
    has_index,
    indexed_parents,
    indexes_at,
    inner_location,
    known_locations,
    space_location,
)
from clipkit.search.store.local.catalog import Catalog
from clipkit.search.store.local.vectors import vectors_files
from clipkit.search.store.local.writer import writer_lock
from clipkit.search.store.records import CatalogMeta

_MAX_COMPARED = 100  # files that show whether a folder is the one that was indexed
_MIN_SHARE = 0.5  # of them that must be as they were: some may have been edited or deleted since


def choose_place(
    folder: str | os.PathLike[str],
    location: str | os.PathLike[str] | None = None,
    *,
    keep_here: bool = False,
) -> LibraryPlace:
    """Return where the first index of a folder is, or will be.

    Args:
        folder: The image folder as the user wrote it.
        location: A directory for the index other than the default.
        keep_here: Whether to keep it inside the folder.

    Returns:
        The folder and its index. An index that the folder had under another name is adopted.

    Raises:
        InputError: If there is no such folder, or `location` and `keep_here` are both given.
    """
    path = existing_folder(folder)
    if keep_here and location is not None:
        raise InputError("an index can be kept here or at a location, not both: leave one out")
    if location is not None:
        return LibraryPlace(path, check_path(location, "location"))
    adopt_index(path)
    return LibraryPlace(path, inner_location(path) if keep_here else existing_location(path))


def nearest_place(folder: str | os.PathLike[str], space_id: str | None) -> LibraryPlace:
    """Return where the first index is of a folder or of the nearest parent that covers it.

    Args:
        folder: The image folder as the user wrote it.
        space_id: The space of a model: an index of it is needed; None for that of any model.

    Returns:
        Of the folder if it has an index; of the nearest parent whose index has an image of the
        folder; or else of the folder, which has none yet.

    Raises:
        InputError: If there is no such folder.
        LibraryError: If an index is damaged, so that its model or images are unknown.
    """
    path = existing_folder(folder)
    adopt_index(path)
    for first in indexed_parents(path):
        place = place_of_space(first, space_id)
        is_own = not place.prefix and place.catalog_path.is_file()
        store = place.store
        if is_own or store.count(place.prefix) or store.count_missing(place.prefix):
            return first
    return choose_place(path)


def place_of_any_folder(folder: str | os.PathLike[str]) -> LibraryPlace:
    """Return where the first index of a folder is, whether or not the folder is still there.

    Args:
        folder: The image folder as the user wrote it.

    Returns:
        The folder and its index. An index that the folder had under another name is adopted.
    """
    path = check_path(folder, "folder")
    if path.is_dir():
        adopt_index(path)
    return LibraryPlace(path, existing_location(path))


def place_of_space(place: LibraryPlace, space_id: str | None) -> LibraryPlace:
    """Return where the index of one model is, or will be.

    Args:
        place: The images, and the directory of the first index.
        space_id: The space of the model; None for the first index, or for the newest of its model,
            whose weights may have changed.

    Returns:
        The location of that index, which need not exist.

    Raises:
        LibraryError: If the first index is damaged, so that its model is unknown.
    """
    if space_id is None:
        any_place = next(places_of_all(place), place)
        with suppress(LibraryError):
            if (meta := any_place.store.meta()) is not None:
                return [any_place, *places_of_model(place, meta.model)][-1]
        return any_place
    own = dataclasses.replace(place, location=space_location(place.location, space_id))
    if own.catalog_path.is_file():
        return own
    first = place.store.meta()
    return place if first is None or first.space_id == space_id else own


def places_of_all(place: LibraryPlace) -> Iterator[LibraryPlace]:
    """Yield the locations of all indexes of a folder, the first index first.

    Args:
        place: The images, and the directory of the first index.

    Yields:
        Locations that have a catalog.
    """
    for location in indexes_at(place.location):
        yield dataclasses.replace(place, location=location)


def metas_of_all(place: LibraryPlace) -> Iterator[CatalogMeta]:
    """Yield the metadata of each index of a folder; unreadable ones are left out."""
    for each in places_of_all(place):
        with suppress(LibraryError):
            meta = each.store.meta()
            if meta is not None:
                yield meta


def places_of_model(
    first: LibraryPlace, model: str, embed_dim: int | None = None
) -> list[LibraryPlace]:
    """Return the indexes of a model: of its weights, and of those that it had.

    Args:
        first: The images, and the directory of the first index.
        model: The name of the model.
        embed_dim: D; those of embeddings that were cut to fewer dimensions are left out.

    Returns:
        Their locations, the last written one last; a damaged one is left out.
    """
    found = []
    for place in places_of_all(first):
        with suppress(LibraryError, OSError):
            meta = place.store.meta()
            if meta is not None and meta.model == model and embed_dim in (None, meta.embed_dim):
                found.append((place.catalog_path.stat().st_mtime_ns, place))
    return [place for _, place in sorted(found, key=lambda each: each[0])]


def other_models(place: LibraryPlace, first: LibraryPlace) -> list[str]:
    """Return the names of the models that a folder is indexed with beside that of one index.

    Args:
        place: That index, which need not exist.
        first: The images, and the directory of the first index.

    Returns:
        Names, that of the first index first.
    """
    own = place.store.meta()
    space_id = own.space_id if own is not None else ""
    return [meta.model for meta in metas_of_all(first) if meta.space_id != space_id]


def indexed_folders() -> Iterator[Path]:
    """Yield the folders that have an index in the user's data directory, sorted.

    An index inside its folder is not registered anywhere else, so it is not among them; an
    unreadable one is left out.
    """
    folders = set()
    for location in known_locations():
        folders |= {Path(meta.folder) for meta in metas_of_all(LibraryPlace(location, location))}
    yield from sorted(folders)


def adopt_index(folder: Path) -> None:
    """Give a folder without an index the one it had under another name on the same disk.

    The folder is recognized by its inode number, which is kept when it is moved on its disk. The
    system reuses such numbers for new folders and on other disks: so the indexed files must be
    there too, most of a sample with the same size and modification time. An index whose folder is
    still where it was is never taken.

    Args:
        folder: An existing folder.
    """
    if has_index(existing_location(folder)):
        return
    for location in known_locations():
        places = places_of_all(LibraryPlace(folder, location))
        with suppress(LibraryError, OSError):  # another folder's index may be damaged
            if any(_is_of(folder, place) for place in places):
                with all_locked(location, folder):
                    location.rename(default_location(folder))
                return


def _is_of(folder: Path, place: LibraryPlace) -> bool:
    """Return whether an index was made of a folder under another name."""
    status = folder.stat()
    with place.store.snapshot() as snapshot:
        meta = snapshot.meta
        if not meta.inode or (meta.device, meta.inode) != (status.st_dev, status.st_ino):
            return False
        return not Path(meta.folder).exists() and _holds_its_files(folder, snapshot.catalog)


def _holds_its_files(folder: Path, catalog: Catalog) -> bool:
    """Return whether a folder holds enough of a catalog's images, unchanged."""
    known = {**catalog.images(), **catalog.missing()}
    paths = sorted(known)
    sample = paths[:: max(1, len(paths) // _MAX_COMPARED)]
    num_unchanged = 0
    for path in sample:
        with suppress(OSError):
            status = (folder / path).stat()
            file = FolderEntry(path, status.st_size, status.st_mtime_ns)
            num_unchanged += has_same_size_and_time(file, known[path])
    return bool(sample) and num_unchanged >= _MIN_SHARE * len(sample)


def remove_index(place: LibraryPlace, first: LibraryPlace) -> None:
    """Delete the files of an index, and the directories that are empty then.

    Args:
        place: The index; nothing happens if there is none.
        first: The folder's first index, whose directory holds those of other models.

    Raises:
        InputError: If it is the index of a parent folder.
        LibraryError: If another process is writing, or a file cannot be deleted.
    """
    if place.prefix:
        raise InputError(
            f"{place.folder} is a part of the index of {place.indexed_folder}, which can only "
            "be removed as a whole"
        )
    if not place.location.is_dir():
        return
    catalog = place.catalog_path
    try:
        with writer_lock(place.lock_path, place.folder):
            # The logs are deleted before the catalog: a new catalog would replay an old log.
            for suffix in ("-wal", "-shm", "-journal", ""):
                catalog.with_name(catalog.name + suffix).unlink(missing_ok=True)
            for path in vectors_files(place.location):
                path.unlink()
        place.lock_path.unlink(missing_ok=True)
        for directory in dict.fromkeys((place.location, first.location)):
            if not any(directory.iterdir()):
                directory.rmdir()
    except OSError as error:
        raise LibraryError(f"the index at {place.location} cannot be removed: {error}") from error
