"""What an index is like and how far it lags behind its folder, without touching either."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from clipkit.errors import LibraryError
from clipkit.search.changes import find_changes
from clipkit.search.entries import IndexedFile, SkippedFile
from clipkit.search.location import LibraryPlace, known_locations
from clipkit.search.snapshot import committed, stored_meta
from clipkit.search.sync import scan_folder

_File = TypeVar("_File", IndexedFile, SkippedFile)


@dataclass(frozen=True)
class LibraryStatus:
    """What an index holds, and what a sync would have to look at."""

    folder: Path  # as it was given
    location: Path  # the directory of the index
    num_images: int  # indexed
    num_skipped: int  # unreadable when they were last looked at
    num_new: int  # files that are not indexed
    num_changed: int  # files that may have changed
    num_missing: int  # indexed files that are not there any more
    num_bytes: int  # of the index on disk
    model: str
    space_id: str
    engine: str
    precision: str  # of the computation; the vectors are stored in half precision
    decoder: str
    exclude: tuple[str, ...]
    include_hidden: bool


def read_status(place: LibraryPlace) -> LibraryStatus:
    """Return what an index is like, and compare its list of files with the folder's.

    Args:
        place: The pictures and the index.

    Returns:
        The status, of the part of the index that shows the folder.

    Raises:
        InputError: If the folder is gone.
        LibraryError: If the folder has not been indexed, or the index is damaged.
    """
    with committed(place) as (catalog, meta, _):
        known = _settled(catalog.images(place.prefix))
        skipped = _settled(catalog.skipped(place.prefix))
    scan = scan_folder(place, meta)
    unlisted = [error.path for error in scan.skipped]
    changes = find_changes(scan.entries, known, skipped, unlisted=unlisted)
    return LibraryStatus(
        folder=place.folder,
        location=place.location,
        num_images=len(known),
        num_skipped=len(skipped),
        num_new=len(changes.added),
        num_changed=len(changes.changed),
        num_missing=changes.num_removed,
        num_bytes=sum(file.stat().st_size for file in place.location.iterdir()),
        model=meta.model,
        space_id=meta.space_id,
        engine=meta.engine,
        precision=meta.precision,
        decoder=meta.decoder,
        exclude=meta.exclude,
        include_hidden=meta.include_hidden,
    )


def _settled(files: Mapping[str, _File]) -> dict[str, _File]:
    """Return files as if equal size and time proved that nothing has changed.

    A sync looks again at those that changed just before they were indexed; for a person they are
    no news.
    """
    return {path: file._replace(is_settled=True) for path, file in files.items()}


def indexed_folders() -> Iterator[Path]:
    """Yield the folders that have an index in the user's data directory, sorted.

    An index inside its folder is known to nobody else, so it is not among them; one that cannot
    be read is left out.
    """
    folders = []
    for location in known_locations():
        with suppress(LibraryError):
            meta = stored_meta(LibraryPlace(location, location))
            if meta is not None:
                folders.append(Path(meta.folder))
    yield from sorted(folders)
