"""The status of an index: what it holds, and how far it lags behind its folder."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clipkit.search.changes import has_same_size_and_time
from clipkit.search.folder_state import read_folder_state
from clipkit.search.location import LibraryPlace


@dataclass(frozen=True)
class LibraryStatus:
    """What an index holds, and what a sync would have to do."""

    folder: Path  # as it was given
    location: Path  # the directory of the index
    # Files now, as a sync would count them; those that were moved are new and removed here.
    num_images: int  # indexed, and there at the last sync
    num_new: int  # not indexed: a sync would add them
    num_changed: int  # indexed, and of another size or time since
    num_removed: int  # indexed and gone: a sync would remove them
    num_missing: int  # indexed and not there, as when a disk is away: a sync would keep them
    num_unchanged: int
    num_skipped: int  # cannot be read, or could not when they were last tried
    num_left_out: int  # files and folders that are not to be indexed
    num_bytes: int  # of the index on disk
    model: str
    space_id: str
    engine: str
    precision: str  # of the computation; the vectors are stored in half precision
    decoder: str
    exclude: tuple[str, ...]
    include_hidden: bool
    crops: int  # rows an image: 1, the whole, or also those of its crops
    num_uncropped: int  # indexed, and without the crops that were asked for: a sync embeds them

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON has them."""
        return asdict(self) | {
            "folder": str(self.folder),
            "location": str(self.location),
            "exclude": list(self.exclude),
        }


def read_status(place: LibraryPlace) -> LibraryStatus:
    """Return what an index holds, and how far it lags behind its folder; change nothing.

    Args:
        place: The images and the index.

    Returns:
        The status of the part of the index that covers the folder.

    Raises:
        InputError: If the folder is gone.
        LibraryError: If the folder has not been indexed, or the index is damaged.
    """
    with place.store.snapshot() as snapshot:
        meta = snapshot.meta
        state = read_folder_state(place, meta, snapshot.catalog)
        uncropped = snapshot.catalog.uncropped(place.prefix, meta.first_cropped)
    changes, known = state.changes, {**state.known, **state.missing}
    # A sync reads again what changed just before it was indexed, and unreadable files if another
    # decoder has come; the status does not count them as changes.
    changed = [
        file for file in changes.changed if not has_same_size_and_time(file, known[file.path])
    ]
    new = [
        file
        for file in changes.added
        if not has_same_size_and_time(file, state.unreadable.get(file.path))
    ]
    missing = state.newly_missing(changes.gone) | state.still_missing(changes.gone)
    num_tried_again = len(changes.added) - len(new)
    return LibraryStatus(
        folder=place.folder,
        location=place.location,
        num_images=len(state.known),
        num_new=len(new),
        num_changed=len(changed),
        num_removed=len(set(changes.gone) - missing),
        num_missing=len(missing),
        num_unchanged=len(changes.unchanged) + len(changes.changed) - len(changed),
        num_skipped=len(state.scan.skipped) + len(changes.still_unreadable) + num_tried_again,
        num_left_out=len(state.scan.left_out),
        num_bytes=sum(file.stat().st_size for file in place.location.iterdir() if file.is_file()),
        model=meta.model,
        space_id=meta.space_id,
        engine=meta.engine,
        precision=meta.precision,
        decoder=meta.decoder,
        exclude=meta.exclude,
        include_hidden=meta.include_hidden,
        crops=meta.crops,
        num_uncropped=len(uncropped),
    )
