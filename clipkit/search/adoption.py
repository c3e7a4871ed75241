"""An index outside its folder, found again after the folder was moved or renamed."""

from contextlib import suppress
from pathlib import Path

from clipkit.errors import LibraryError
from clipkit.search.location import (
    LibraryPlace,
    default_location,
    existing_location,
    known_locations,
)
from clipkit.search.lock import WriterLock
from clipkit.search.snapshot import stored_meta


def adopt_index(folder: Path) -> None:
    """Give a folder without an index the one it had under another name on the same disk.

    It is known by the folder's own number on its disk, which stays when it is moved there. An
    index whose folder is still where it was is never taken.

    Args:
        folder: An existing folder.
    """
    if LibraryPlace(folder, existing_location(folder)).catalog_path.is_file():
        return
    status = folder.stat()
    for location in known_locations():
        place = LibraryPlace(folder, location)
        with suppress(LibraryError, OSError):  # of somebody else's index: not this folder's matter
            meta = stored_meta(place)
            if meta is None or not meta.inode or Path(meta.folder).exists():
                continue
            if (meta.device, meta.inode) == (status.st_dev, status.st_ino):
                with WriterLock(place.lock_path, folder):
                    location.rename(default_location(folder))
                return
