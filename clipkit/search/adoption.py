"""An index outside its folder, found again after the folder was moved or renamed."""

from contextlib import suppress
from pathlib import Path

from clipkit.errors import LibraryError
from clipkit.inputs.folders import FolderEntry
from clipkit.search.catalog import Catalog
from clipkit.search.changes import is_alike
from clipkit.search.location import (
    LibraryPlace,
    all_locked,
    default_location,
    existing_location,
    has_index,
    known_locations,
)
from clipkit.search.snapshot import committed
from clipkit.search.spaces import places_of_all

_COMPARED = 100  # files that show whether a folder is the one that was indexed
_SHARE = 0.5  # of them that must be as they were: some may have been edited or deleted since


def adopt_index(folder: Path) -> None:
    """Give a folder without an index the one it had under another name on the same disk.

    It is known by the folder's own number on its disk, which stays when it is moved there. The
    system gives such numbers out again, to new folders and to other disks: so the files that
    were indexed must be there too, most of a sample with the size and time they had. An index
    whose folder is still where it was is never taken.

    Args:
        folder: An existing folder.
    """
    if has_index(existing_location(folder)):
        return
    for location in known_locations():
        with suppress(LibraryError, OSError):  # of somebody else's index: not this folder's matter
            if any(
                _is_of(folder, place) for place in places_of_all(LibraryPlace(folder, location))
            ):
                with all_locked(location, folder):
                    location.rename(default_location(folder))
                return


def _is_of(folder: Path, place: LibraryPlace) -> bool:
    """Return whether an index is that of a folder, which had another name then."""
    status = folder.stat()
    with committed(place) as (catalog, meta, _):
        if not meta.inode or (meta.device, meta.inode) != (status.st_dev, status.st_ino):
            return False
        return not Path(meta.folder).exists() and _holds_its_files(folder, catalog)


def _holds_its_files(folder: Path, catalog: Catalog) -> bool:
    """Return whether enough of the images of a catalog are in a folder as they were."""
    known = {**catalog.images(), **catalog.missing()}
    paths = sorted(known)
    sample = paths[:: max(1, len(paths) // _COMPARED)]
    num_alike = 0
    for path in sample:
        with suppress(OSError):
            status = (folder / path).stat()
            file = FolderEntry(path, status.st_size, status.st_mtime_ns)
            num_alike += is_alike(file, known[path])
    return bool(sample) and num_alike >= _SHARE * len(sample)
