"""Deleting an index, and nothing else."""

from clipkit.errors import LibraryError
from clipkit.search.location import LibraryPlace
from clipkit.search.lock import WriterLock
from clipkit.search.vectors import vectors_files


def remove_index(place: LibraryPlace, first: LibraryPlace) -> None:
    """Delete the files of an index, and the directories that are empty then.

    Args:
        place: Of the index; nothing happens if there is none.
        first: Of the folder's first index, in whose directory those of other models lie.

    Raises:
        LibraryError: If another process is writing, or a file cannot be deleted.
    """
    if not place.location.is_dir():
        return
    catalog = place.catalog_path
    try:
        with WriterLock(place.lock_path, place.folder):
            # The catalog goes last of its files: a new one would take up an old one's log.
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
