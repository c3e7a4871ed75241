"""A folder as it is now, compared with its index: what a sync would have to do."""

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from clipkit.inputs.decoder_name import decoder_name
from clipkit.inputs.folders import FolderScan, LeftOut, find_images
from clipkit.search.changes import (
    Changes,
    DiskState,
    FileState,
    find_changes,
    find_missing,
    has_same_size_and_time,
    is_at_or_in,
    steps_of,
)
from clipkit.search.location import LibraryPlace
from clipkit.search.store.local.catalog import Catalog
from clipkit.search.store.records import CatalogMeta, IndexedFile, SkippedFile


@dataclass(frozen=True)
class FolderState:
    """A folder compared with its index; paths are relative to the indexed folder."""

    scan: FolderScan
    known: Mapping[str, IndexedFile]  # indexed, and there at the last sync
    missing: Mapping[str, IndexedFile]  # indexed, and missing at the last sync
    unreadable: Mapping[str, SkippedFile]  # at the last sync
    changes: Changes
    disks: DiskState

    @property
    def returned(self) -> set[str]:
        """Images that were missing, and are back unchanged."""
        return self.missing.keys() & self.changes.unchanged

    @property
    def unlisted(self) -> set[str]:
        """Paths that are there and could not be read."""
        return {error.path for error in self.scan.skipped}

    @property
    def is_recognized(self) -> bool:
        """Whether the folder holds anything that it held before, or held nothing."""
        num_indexed = len(self.known) + len(self.missing)
        num_absent = len(self.changes.gone) + len(self.changes.unseen)
        return num_absent < num_indexed or not num_indexed

    def newly_missing(self, gone: Collection[str]) -> set[str]:
        """Return the images that are missing for the first time.

        Args:
            gone: Of the images that are gone, those that were not moved.

        Returns:
            Paths.
        """
        left_out = {left.path for left in self.scan.left_out}  # present, but excluded now
        lost = {path for path in gone if path in self.known and not is_at_or_in(path, left_out)}
        unseen = {path for path in self.changes.unseen if path in self.known}
        return unseen | find_missing(lost, self.known, self.disks)

    def still_missing(self, gone: Collection[str]) -> set[str]:
        """Return the images that were missing before, still are, and were not moved."""
        left_out = {left.path for left in self.scan.left_out}
        wanted = {path for path in gone if not is_at_or_in(path, left_out)}
        return self.missing.keys() & wanted.union(self.changes.unseen)


def read_folder_state(place: LibraryPlace, meta: CatalogMeta, catalog: Catalog) -> FolderState:
    """Return a folder's state now, compared with its index; no image is opened.

    Args:
        place: The images and the index.
        meta: The metadata of the last sync, with the exclusions that apply from now on.
        catalog: The catalog of the index.

    Returns:
        The state of the part of the index that covers the folder.

    Raises:
        InputError: If the folder is gone or cannot be read.
    """
    scan = find_images(
        place.indexed_folder,
        part=place.prefix,
        include_hidden=meta.include_hidden,
        exclude=meta.exclude,
    )
    known, missing = catalog.images(place.prefix), catalog.missing(place.prefix)
    skipped = catalog.skipped(place.prefix)
    if meta.decoder not in ("", decoder_name()):  # another decoder may read more
        skipped = {path: file._replace(is_settled=False) for path, file in skipped.items()}
    unlisted = [error.path for error in scan.skipped]
    changes = find_changes(scan.entries, {**known, **missing}, skipped, unlisted=unlisted)
    links = _links_elsewhere(place, catalog, changes.added)
    if links:
        others = [
            LeftOut(path, "is another way to a file that is indexed already", same_as=name)
            for path, name in links.items()
        ]
        scan = dataclasses.replace(scan, left_out=sorted([*scan.left_out, *others]))
        added = tuple(file for file in changes.added if file.path not in links)
        changes = dataclasses.replace(changes, added=added)
    disks = _disk_state(place, meta, known, changes, scan)
    return FolderState(scan, known, missing, skipped, changes, disks)


def find_mounts(place: LibraryPlace, files: Iterable[FileState]) -> set[str]:
    """Return the folders of files that are on another disk than their parent folders."""
    devices = {"": device_of(place.indexed_folder)}
    mounts: set[str] = set()
    for folder in {file.path.rpartition("/")[0] for file in files} - {""}:
        parent = ""
        for step in steps_of(folder):
            if step not in devices:
                devices[step] = device_of(place.indexed_folder / step)
                if devices[step] not in (0, devices[parent]):
                    mounts.add(step)
            parent = step
    return mounts


def device_of(folder: Path) -> int:
    """Return the current device number of the disk that holds a folder, 0 if unknown."""
    try:
        return folder.stat().st_dev
    except OSError:
        return 0


def _links_elsewhere(
    place: LibraryPlace, catalog: Catalog, files: Iterable[FileState]
) -> dict[str, str]:
    """Return which files of a part are indexed in another part of the library, and as what.

    `find_images` finds such links in what it reads, which is only the part.
    """
    if not place.prefix or not files:
        return {}
    elsewhere: dict[tuple[int, int], list[str]] = defaultdict(list)
    for image in catalog.images().values():
        if not image.path.startswith(place.prefix):
            elsewhere[image.size, image.mtime_ns].append(image.path)
    links: dict[str, str] = {}
    for file in files:
        for path in elsewhere.get((file.size, file.mtime_ns), ()):
            with suppress(OSError):
                if place.path(file.path).samefile(place.path(path)):
                    links[file.path] = path
    return links


def _disk_state(
    place: LibraryPlace,
    meta: CatalogMeta,
    known: Mapping[str, IndexedFile],
    changes: Changes,
    scan: FolderScan,
) -> DiskState:
    """Return the signs that images are gone because their disk is disconnected."""
    has_other_number = meta.device not in (0, device_of(place.indexed_folder))
    return DiskState(
        is_empty=not scan.entries,
        is_another=has_other_number
        and 2 * sum(has_same_size_and_time(file, known.get(file.path)) for file in scan.entries)
        < len(known),
        # Another disk may be mounted there, and even have the same device number.
        lost=frozenset(
            folder
            for folder in (meta.mounts if changes.gone else ())
            if not any(path.startswith(f"{folder}/") for path in changes.unchanged)
        ),
    )
