"""Bringing an index in step with its folder.

Shapes: K pictures of a batch, D dimensions.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from clipkit.errors import ImageReadError, LibraryError, SpaceMismatchError
from clipkit.inputs.folders import FolderEntry, find_images
from clipkit.search.catalog import Catalog, CatalogMeta
from clipkit.search.changes import Changes, find_changes
from clipkit.search.location import LibraryPlace, existing_folder
from clipkit.search.lock import WriterLock
from clipkit.search.schema import damaged_library, rebuild_command
from clipkit.search.vectors import VectorReader, vectors_name
from clipkit.search.writer import LibraryWriter, compact

if TYPE_CHECKING:
    from clipkit.encoder import Encoder

Progress = Callable[[int, int | None], None]
"""Called with how many pictures are done and how many there are to do."""

COMMIT_SECONDS = 2.0  # the most work that a kill or a power cut can cost


@dataclass(frozen=True)
class SyncReport:
    """What a sync did: after it, added + changed + unchanged pictures are indexed."""

    added: int
    changed: int
    removed: int
    unchanged: int
    skipped: list[ImageReadError]  # what could not be read, with reasons; not indexed


@dataclass(frozen=True)
class SyncOptions:
    """What of a folder to index; None means the same as last time."""

    exclude: Sequence[str] | None = None  # as for `find_images`
    include_hidden: bool | None = None


def sync_library(
    place: LibraryPlace,
    encoder: "Encoder",
    options: SyncOptions,
    *,
    progress: Progress | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> SyncReport:
    """Index what is new and changed, forget what is gone.

    Args:
        place: The pictures and the index.
        encoder: Makes the embeddings.
        options: What to index.
        progress: Called before the first and after every batch.
        clock: Tells the time in seconds.

    Returns:
        What was done.

    Raises:
        InputError: If the folder is gone.
        LibraryError: If another process is writing, the index is damaged or unwritable, or the
            disk of the pictures is missing.
        SpaceMismatchError: If the index was built with another model.
    """
    existing_folder(place.folder)
    place.make_location()
    with WriterLock(place.lock_path, place.folder), _create_catalog(place) as catalog:
        stored = catalog.meta()
        meta = _next_meta(stored, place, encoder, options)
        files, unlisted = _scan(place, meta)
        if not files and stored and stored.device != meta.device and catalog.count(place.prefix):
            raise _disk_is_missing(place)
        changes = find_changes(
            files,
            catalog.images(place.prefix),
            catalog.skipped(place.prefix),
            unlisted=[error.path for error in unlisted],
        )
        with LibraryWriter(catalog, place.location, meta) as writer:
            writer.remove(changes.removed)
            work = _Work(place, writer, changes, progress, clock)
            failed = work.run(encoder)
        compact(catalog, place.location, place.folder)
    return _report(place, changes, unlisted, failed)


def check_space(meta: CatalogMeta | None, encoder: "Encoder", place: LibraryPlace) -> None:
    """Make sure that an index and an encoder are of the same space.

    Args:
        meta: What holds for the index, None if there is none yet.
        encoder: Makes embeddings of pictures and queries.
        place: For the message.

    Raises:
        SpaceMismatchError: If they are not.
    """
    if meta is None or meta.space_id == encoder.space_id:
        return
    raise SpaceMismatchError(
        f"the index of {place.indexed_folder} was built with {meta.model} (space {meta.space_id}),"
        f" this model is {encoder.name} (space {encoder.space_id}): search with the model it was "
        f"built with, or run  {rebuild_command(place.indexed_folder)}  with the one you want"
    )


def _create_catalog(place: LibraryPlace) -> Catalog:
    """Return the catalog, a new one if there is none."""
    catalog = Catalog.open(place.catalog_path, place.folder, create=True)
    assert catalog is not None
    return catalog


def _next_meta(
    stored: CatalogMeta | None, place: LibraryPlace, encoder: "Encoder", options: SyncOptions
) -> CatalogMeta:
    """Return what holds for the library from now on, if it may be written at all."""
    check_space(stored, encoder, place)
    if stored is not None:
        _check_vectors(stored, place)
    base = stored or CatalogMeta(
        folder="",
        space_id=encoder.space_id,
        embed_dim=encoder.embed_dim,
        model="",
        engine="",
        precision="",
        clipkit_version="",
        vectors_file=vectors_name(1),
    )
    exclude, include_hidden = options.exclude, options.include_hidden
    return dataclasses.replace(
        base,
        folder=str(place.indexed_folder.resolve()),
        model=encoder.name,
        engine=encoder.engine,
        precision=encoder.precision,
        clipkit_version=_clipkit_version(),
        device=_device(place),
        exclude=base.exclude if exclude is None else tuple(filter(None, exclude)),
        include_hidden=base.include_hidden if include_hidden is None else include_hidden,
    )


def _check_vectors(meta: CatalogMeta, place: LibraryPlace) -> None:
    """Refuse to append to a file that has lost rows: nobody would notice afterwards."""
    path = place.location / meta.vectors_file
    try:
        VectorReader(path, meta.embed_dim, meta.num_rows, place.indexed_folder)
    except FileNotFoundError as error:
        raise damaged_library(place.indexed_folder, f"{path} is missing") from error


def _disk_is_missing(place: LibraryPlace) -> LibraryError:
    """Return the error for a folder that is empty because its disk is not there."""
    return LibraryError(
        f"{place.folder} has no pictures, and is not on the disk it was on when it was indexed: "
        "connect that disk, or, if the pictures are gone, run  "
        f"{rebuild_command(place.indexed_folder)}"
    )


def _device(place: LibraryPlace) -> int:
    return place.indexed_folder.stat().st_dev


def _scan(place: LibraryPlace, meta: CatalogMeta) -> tuple[list[FolderEntry], list[ImageReadError]]:
    """Return the pictures now in the folder, and what could not be looked at.

    Paths are as the catalog has them, relative to the indexed folder.
    """
    folder, prefix = place.folder, place.prefix
    if prefix and any("/" in pattern for pattern in meta.exclude):
        folder, prefix = place.indexed_folder, ""  # such patterns are about its whole paths
    scan = find_images(folder, include_hidden=meta.include_hidden, exclude=meta.exclude)
    files = [file._replace(path=prefix + file.path) for file in scan.entries]
    unlisted = [ImageReadError(prefix + error.path, error.reason) for error in scan.skipped]
    return (
        [file for file in files if file.path.startswith(place.prefix)],
        [error for error in unlisted if error.path.startswith(place.prefix)],
    )


@dataclass(frozen=True)
class _Work:
    """The encoding of one sync."""

    place: LibraryPlace
    writer: LibraryWriter
    changes: Changes
    progress: Progress | None
    clock: Callable[[], float]

    def run(self, encoder: "Encoder") -> dict[int, ImageReadError]:
        """Encode new and changed pictures; return the errors by position among those."""
        files = (*self.changes.added, *self.changes.changed)
        failed: dict[int, ImageReadError] = {}
        num_done, last_commit = 0, self.clock()
        self._tell(num_done, len(files))
        for batch in encoder.stream_images([self.place.path(file.path) for file in files]):
            self.writer.add([files[position] for position in batch.positions], batch.embeddings)
            for position, error in batch.skipped:
                self.writer.skip(files[position], error.reason)
                failed[position] = error
            num_done += len(batch.positions) + len(batch.skipped)
            if self.clock() - last_commit >= COMMIT_SECONDS:
                self.writer.commit()
                last_commit = self.clock()
            self._tell(num_done, len(files))
        return failed

    def _tell(self, num_done: int, num_files: int) -> None:
        if self.progress and num_files:
            self.progress(num_done, num_files)


def _report(
    place: LibraryPlace,
    changes: Changes,
    unlisted: list[ImageReadError],
    failed: dict[int, ImageReadError],
) -> SyncReport:
    """Return what was done, with paths as the user writes them."""
    num_new = len(changes.added)
    num_failed_new = sum(position < num_new for position in failed)
    elsewhere = [(error.path, error.reason) for error in unlisted]
    before = [(file.path, file.reason) for file in changes.still_unreadable]
    return SyncReport(
        added=num_new - num_failed_new,
        changed=len(changes.changed) - (len(failed) - num_failed_new),
        removed=changes.num_removed,
        unchanged=changes.num_unchanged,
        skipped=[
            *(ImageReadError(place.path(path), reason) for path, reason in elsewhere + before),
            *failed.values(),
        ],
    )


def _clipkit_version() -> str:
    try:
        return metadata.version("clipkit")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"
