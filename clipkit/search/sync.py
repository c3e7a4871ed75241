"""Bringing an index in step with its folder.

Shapes: K pictures of a batch, D dimensions.
"""

import dataclasses
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clipkit.background_names import BACKGROUND_NAMES
from clipkit.errors import ImageReadError, LibraryError, SpaceMismatchError
from clipkit.inputs.decoder import decoder_name
from clipkit.inputs.folders import FolderScan, LeftOut, find_images
from clipkit.progress import Progress
from clipkit.search.background import make_background, stored_background
from clipkit.search.catalog import Catalog
from clipkit.search.changes import Changes, find_changes
from clipkit.search.entries import CatalogMeta
from clipkit.search.intake import Intake, Tally
from clipkit.search.location import LibraryPlace, existing_folder
from clipkit.search.lock import WriterLock
from clipkit.search.schema import damaged_library, rebuild_command
from clipkit.search.vectors import VectorReader, vectors_name
from clipkit.search.writer import LibraryWriter, compact

if TYPE_CHECKING:
    from clipkit.encoder import Encoder


@dataclass(frozen=True)
class SyncReport:
    """What a sync did: after it, added + changed + moved + unchanged are indexed."""

    added: int
    changed: int
    moved: int  # moved or renamed: indexed under another path before
    removed: int
    unchanged: int
    skipped: list[ImageReadError]  # what could not be read, with reasons; not indexed
    left_out: list[LeftOut]  # what was not to be indexed, with reasons
    newly_skipped: list[ImageReadError] = field(default_factory=list)  # of skipped, since last time

    @property
    def has_news(self) -> bool:
        """Whether the index is another than before."""
        return bool(self.added or self.changed or self.moved or self.removed)


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
        scan = scan_folder(place, meta)
        has_lost_all = not scan.entries and catalog.count(place.prefix)
        if has_lost_all and stored and stored.device != meta.device:
            raise _disk_is_missing(place)
        if stored_background(catalog) is None:
            catalog.write_background(BACKGROUND_NAMES, make_background(encoder))
        known = catalog.images(place.prefix)
        skipped = catalog.skipped(place.prefix)
        if stored and stored.decoder not in ("", meta.decoder):  # another one may read more
            skipped = {path: file._replace(is_settled=False) for path, file in skipped.items()}
        unlisted = [error.path for error in scan.skipped]
        changes = find_changes(
            scan.entries,
            known,
            skipped,
            unlisted=unlisted,
        )
        files = (*changes.added, *changes.changed)
        if files or changes.removed or stored is None:
            meta = dataclasses.replace(meta, clipkit_version=_clipkit_version())
        if files:
            meta = _with_numerics(meta, encoder)
        kept = (path for path in meta.unlisted if not path.startswith(place.prefix))
        meta = dataclasses.replace(meta, unlisted=tuple(sorted({*kept, *unlisted})))
        tell = _teller(progress, len(files))
        with LibraryWriter(catalog, place.location, meta) as writer:
            intake = Intake(
                catalog,
                writer,
                encoder,
                known=known,
                missing=changes.removed,
                locate=place.path,
                after_step=tell,
                clock=clock,
            )
            # What may have moved comes first, while the rows of the missing are still there.
            intake.take([file for file in files if file.size in changes.familiar_sizes])
            writer.remove(changes.removed)
            intake.take([file for file in files if file.size not in changes.familiar_sizes])
        compact(catalog, place.location, place.folder)
    told = {str(place.path(path)) for path in (*skipped, *(stored.unlisted if stored else ()))}
    return _report(place, changes, scan, intake.tally, told)


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
        decoder=decoder_name(),
        device=_device(place),
        inode=place.indexed_folder.stat().st_ino,
        exclude=base.exclude if exclude is None else tuple(filter(None, exclude)),
        include_hidden=base.include_hidden if include_hidden is None else include_hidden,
    )


def _with_numerics(meta: CatalogMeta, encoder: "Encoder") -> CatalogMeta:
    """Return what holds once an encoder has added pictures, which may mix engines and precisions.

    Those that are taken without being asked for differ by less than what a search can tell.
    """
    return dataclasses.replace(
        meta,
        engine=_joined(meta.engine, encoder.engine),
        precision=_joined(meta.precision, encoder.precision),
    )


def _joined(names: str, name: str) -> str:
    return " + ".join(sorted({*filter(None, names.split(" + ")), name}))


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


def scan_folder(place: LibraryPlace, meta: CatalogMeta) -> FolderScan:
    """Return the pictures now in the folder, and what could not be looked at.

    Paths are as the catalog has them, relative to the indexed folder.
    """
    folder, prefix = place.folder, place.prefix
    if prefix and any("/" in pattern for pattern in meta.exclude):
        folder, prefix = place.indexed_folder, ""  # such patterns are about its whole paths
    scan = find_images(folder, include_hidden=meta.include_hidden, exclude=meta.exclude)
    files = (file._replace(path=prefix + file.path) for file in scan.entries)
    errors = (ImageReadError(prefix + error.path, error.reason) for error in scan.skipped)
    others = (other._replace(path=prefix + other.path) for other in scan.left_out)
    return FolderScan(
        entries=[file for file in files if file.path.startswith(place.prefix)],
        skipped=[error for error in errors if error.path.startswith(place.prefix)],
        left_out=[other for other in others if other.path.startswith(place.prefix)],
    )


def _teller(progress: Progress | None, num_files: int) -> Callable[[int], None]:
    """Return what to call with how many files are done."""
    if progress is None or not num_files:
        return lambda _: None
    progress(0, num_files)
    return lambda num_done: progress(num_done, num_files)


def _report(
    place: LibraryPlace,
    changes: Changes,
    scan: FolderScan,
    tally: Tally,
    told: Collection[str],
) -> SyncReport:
    """Return what was done, with paths as the user writes them; of `told` they know already."""
    elsewhere = [(error.path, error.reason) for error in scan.skipped]
    before = [(file.path, file.reason) for file in changes.still_unreadable]
    skipped = [
        *(ImageReadError(place.path(path), reason) for path, reason in elsewhere + before),
        *tally.failed,
    ]
    return SyncReport(
        added=tally.added,
        changed=tally.changed,
        moved=tally.moved,
        removed=changes.num_removed - tally.moved,
        unchanged=changes.num_unchanged + tally.unchanged,
        skipped=skipped,
        left_out=[left._replace(path=str(place.path(left.path))) for left in scan.left_out],
        newly_skipped=[error for error in skipped if error.path not in told],
    )


def _clipkit_version() -> str:
    from importlib import metadata  # only here: it takes 15 ms, and most searches never ask

    try:
        return metadata.version("clipkit")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"
