"""Sync of an index with its folder: new images are encoded, those that are gone are removed."""

import dataclasses
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipkit.background_words import BACKGROUND_NAMES
from clipkit.errors import ImageReadError, InputError, SpaceMismatchError, advise_model
from clipkit.inputs.crop_boxes import crop_boxes
from clipkit.inputs.decoder_name import decoder_name
from clipkit.inputs.folders import LeftOut
from clipkit.search.filters import may_pass
from clipkit.search.folder_state import FolderState, find_mounts, read_folder_state
from clipkit.search.indexing_estimate import RowCost
from clipkit.search.indexing_order import in_indexing_order
from clipkit.search.ingest import ImageIngester, IngestCounts
from clipkit.search.location import LibraryPlace, SearchedPlace, existing_folder
from clipkit.search.relevance import make_background, stored_background
from clipkit.search.store.local.catalog import Catalog
from clipkit.search.store.local.crop_file import open_crops
from clipkit.search.store.local.vectors import VectorReader, damaged_vectors, vectors_name
from clipkit.search.store.local.writer import LibraryWriter, compact, writer_lock
from clipkit.search.store.records import CatalogMeta
from clipkit.search.sync_options import SyncRules
from clipkit.search.sync_progress import SyncCallbacks

if TYPE_CHECKING:
    from clipkit.encoder.encoder import Encoder
    from clipkit.search.store_sync import StoreReport


@dataclass(frozen=True)
class SyncReport:
    """What a sync did: after it, added + changed + moved + unchanged are indexed.

    `clipkit.search.changes` says what each word means.
    """

    folder: Path  # as it was given
    added: int
    changed: int
    moved: int
    removed: int
    unchanged: int
    skipped: list[ImageReadError]  # what could not be read, with reasons; not indexed
    left_out: list[LeftOut]  # what was deliberately not indexed, with reasons
    missing: int = 0  # and kept until they are back, or pruned
    missing_before: int = 0  # as many were missing at the sync before
    newly_skipped: list[ImageReadError] = field(default_factory=list)  # of skipped, since last time
    stored: "StoreReport | None" = None  # what was sent to a store of its own
    # Of added and changed, those whose embeddings were ready; None: none were given.
    from_files: int | None = None
    cropped: int = 0  # of unchanged, those that were given the crops that were asked for since

    @property
    def has_news(self) -> bool:
        """Whether the sync changed the index."""
        if self.stored is not None and self.stored.has_news:
            return True
        has_changed = self.added or self.changed or self.moved or self.removed or self.cropped
        return bool(has_changed) or self.missing != self.missing_before

    @property
    def counts(self) -> dict[str, int]:
        """How many images were added, changed, moved, removed and unchanged."""
        names = ("added", "changed", "moved", "removed", "unchanged")
        return {name: getattr(self, name) for name in names}

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON has it."""
        found: dict[str, Any] = {
            "folder": str(self.folder),
            **self.counts,
            "missing": self.missing,
            "skipped": [error.to_dict() for error in self.skipped],
            "left_out": [left._asdict() for left in self.left_out],
        }
        if self.cropped:
            found["cropped"] = self.cropped
        if self.from_files is not None:
            found["from_files"] = self.from_files
        return found if self.stored is None else found | {"store": self.stored.to_dict()}


def sync_library(
    place: LibraryPlace,
    encoder: "Encoder",
    rules: SyncRules,
    callbacks: SyncCallbacks,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> SyncReport:
    """Index new and changed images, and remove those that are gone.

    Args:
        place: The images and the index.
        encoder: Makes the embeddings.
        rules: What to index, and in which order.
        callbacks: Called on the way.
        clock: Returns the time in seconds.

    Returns:
        What was done.

    Raises:
        InputError: If the folder is gone, something is to be left out of a part of an index, or
            ready embeddings are given for an index with crops.
        LibraryError: If another process is writing, or the index is damaged or unwritable.
        SpaceMismatchError: If the index was rebuilt with another model meanwhile.
    """
    said = (rules.exclude, rules.include_hidden, rules.crops)
    if place.prefix and any(value is not None for value in said):
        raise InputError(
            f"{place.folder} is a part of the index of {place.indexed_folder}: what to leave "
            "out, and how many crops there are, is said for the whole of it"
        )
    existing_folder(place.folder)
    check_ready(rules, encoder, place.indexed_folder)
    place.make_location()
    with writer_lock(place.lock_path, place.folder), _create_catalog(place) as catalog:
        stored = catalog.meta()
        check_space(stored, encoder, place)
        asked = _requested_meta(stored or _new_meta(encoder), rules)
        if stored is not None:
            _check_vectors(asked, place)
        check_ready(rules, encoder, place.indexed_folder, asked.crops)
        state = read_folder_state(place, asked, catalog)
        if stored_background(catalog.background()) is None:
            catalog.write_background(BACKGROUND_NAMES, make_background(encoder))
        changes = state.changes
        files = in_indexing_order(
            [*changes.added, *changes.changed],
            rules.order,
            lambda path: may_pass(path.removeprefix(place.prefix), rules.first),
        )
        unknown = [file for file in files if file.size not in changes.familiar_sizes]
        uncropped = catalog.uncropped(place.prefix, asked.first_cropped)
        num_to_crop = sum(image.path in changes.unchanged for image in uncropped)
        meta = _next_meta(asked, state, place, encoder)
        with LibraryWriter(catalog, place.location, meta) as writer:
            ingester = ImageIngester(
                catalog,
                writer,
                encoder,
                known={**state.known, **state.missing},
                gone=changes.gone,
                locate=place.path,
                after_step=callbacks.after_step(
                    len(files) + num_to_crop,
                    len(unknown) + num_to_crop,
                    clock,
                    RowCost(meta.crops, meta.embed_dim),
                ),
                after_commit=callbacks.after_commit(
                    len(changes.added), lambda: catalog.count(place.prefix)
                ),
                embeddings=rules.embeddings,
                crops=crop_boxes(meta.crops),
                clock=clock,
            )
            for image in filter(None, map(catalog.find_missing, state.returned)):
                writer.keep(image)
            # What may have moved comes first, while the rows of the missing are still there.
            ingester.ingest([file for file in files if file.size in changes.familiar_sizes])
            missing = _write_absent(writer, state, ingester.gone, prune=rules.prune)
            ingester.ingest(unknown)
            writer.commit()
            if uncropped := catalog.uncropped(place.prefix, meta.first_cropped):
                ingester.add_crops(uncropped)
        compact(catalog, place.location, place.folder)
    reported = {*state.unreadable, *(stored.unlisted if stored else ())}
    reported_paths = {str(place.path(path)) for path in reported}
    report = _report(place, state, missing, ingester.counts, reported_paths)
    if rules.embeddings is None:
        return report
    return dataclasses.replace(report, from_files=ingester.counts.from_files)


def _write_absent(
    writer: LibraryWriter, state: FolderState, gone: Collection[str], *, prune: bool
) -> set[str]:
    """Remove the removed images, keep the missing ones, and return the missing.

    Args:
        writer: Writes it to the index.
        state: The folder compared with the index.
        gone: Of the images that are gone, those that were not moved.
        prune: Whether to remove the missing ones too, except where the folder could not be read.

    Returns:
        Paths of all images that are indexed and not there.
    """
    newly, still = state.newly_missing(gone), state.still_missing(gone)
    if prune:
        newly, still = (paths.intersection(state.changes.unseen) for paths in (newly, still))
    writer.miss(newly)
    writer.remove(set(gone).union(state.changes.no_longer_unreadable) - newly - still)
    return newly | still


def check_space(meta: CatalogMeta | None, encoder: "Encoder", place: SearchedPlace) -> None:
    """Raise unless an index and an encoder are of the same space.

    Args:
        meta: The metadata of the index, None if there is none yet.
        encoder: Makes embeddings of images and queries.
        place: For the message.

    Raises:
        SpaceMismatchError: If they are not.
    """
    if meta is None or meta.space_id == encoder.space_id:
        return
    raise SpaceMismatchError(
        f"the index of {place.indexed_folder} at {place.location} was made with {meta.model} (space"
        f" {meta.space_id}) since it was opened for {encoder.name} (space {encoder.space_id}): open"
        " the library again, or run the same command again"
    )


def check_ready(rules: SyncRules, encoder: "Encoder", folder: Path, crops: int = 1) -> None:
    """Raise unless the ready embeddings that a sync is given, if any, can be taken.

    Args:
        rules: What the sync is told.
        encoder: Makes the other embeddings.
        folder: The indexed folder, for messages.
        crops: How many rows an image has in the index; of ready ones there is one.

    Raises:
        SpaceMismatchError: If they are of another space than the encoder's.
        InputError: If the index has crops.
    """
    ready = rules.embeddings
    if ready is None:
        return
    if ready.space_id != encoder.space_id:
        raise SpaceMismatchError(
            f"{ready.location} holds embeddings of {ready.model} (space {ready.space_id}), and the "
            f"index is made with {encoder.name} (space {encoder.space_id}): "
            + advise_model(ready.model, encoder.name, otherwise="embed again")
        )
    if crops > 1:
        raise InputError(
            f"the index of {folder} has {crops} rows an image, and {ready.location} holds one: "
            "index without it (--from), or drop the crops (--crops 1)"
        )


def _create_catalog(place: LibraryPlace) -> Catalog:
    """Return the catalog, a new one if there is none."""
    catalog = Catalog.open(place.catalog_path, place.folder, create=True)
    assert catalog is not None
    return catalog


def _new_meta(encoder: "Encoder") -> CatalogMeta:
    """Return the metadata of a new index."""
    return CatalogMeta(
        folder="",
        space_id=encoder.space_id,
        embed_dim=encoder.embed_dim,
        model="",
        engine="",
        precision="",
        clipkit_version="",
        vectors_file=vectors_name(1),
    )


def _requested_meta(meta: CatalogMeta, rules: SyncRules) -> CatalogMeta:
    """Return the metadata of the last sync, with the exclusions of this one."""
    exclude, include_hidden = rules.exclude, rules.include_hidden
    if rules.crops not in (None, meta.crops):
        # Whatever is in the index has no crops, or none that are asked for any more.
        first = meta.num_rows if rules.crops > 1 else 0
        meta = dataclasses.replace(meta, crops=rules.crops, first_cropped=first)
    return dataclasses.replace(
        meta,
        exclude=meta.exclude if exclude is None else tuple(filter(None, exclude)),
        include_hidden=meta.include_hidden if include_hidden is None else include_hidden,
    )


def _next_meta(
    asked: CatalogMeta, state: FolderState, place: LibraryPlace, encoder: "Encoder"
) -> CatalogMeta:
    """Return the metadata of the index after this sync."""
    changes = state.changes
    elsewhere = (path for path in asked.unlisted if not path.startswith(place.prefix))
    meta = dataclasses.replace(
        asked,
        folder=str(place.indexed_folder.resolve()),
        model=encoder.name,
        decoder=decoder_name(),
        mounts=tuple(sorted({*asked.mounts, *find_mounts(place, state.scan.entries)})),
        unlisted=tuple(sorted({*elsewhere, *state.unlisted})),
    )
    # An empty mount point has another device number than its disk: keep the number of the disk.
    if state.is_recognized:
        status = place.indexed_folder.stat()
        meta = dataclasses.replace(meta, device=status.st_dev, inode=status.st_ino)
    has_files = bool(changes.added or changes.changed)
    if has_files or changes.gone or not asked.clipkit_version:
        from clipkit.version import __version__  # only here: most searches never ask

        meta = dataclasses.replace(meta, clipkit_version=__version__)
    if has_files:
        # Engines and precisions that are chosen by default differ by less than a search can notice:
        # an index may mix them.
        meta = dataclasses.replace(
            meta,
            engine=_joined(meta.engine, encoder.engine),
            precision=_joined(meta.precision, encoder.precision),
        )
    return meta


def _joined(names: str, name: str) -> str:
    return " + ".join(sorted({*filter(None, names.split(" + ")), name}))


def _check_vectors(meta: CatalogMeta, place: LibraryPlace) -> None:
    """Refuse to append to files of vectors that have lost rows: the loss would go unnoticed.

    Crops that are dropped, or made anew, may be damaged.
    """
    path = place.location / meta.vectors_file
    try:
        VectorReader(path, meta.embed_dim, meta.num_rows, place.indexed_folder)
        open_crops(place.location, meta, place.indexed_folder)
    except FileNotFoundError as error:
        missing = Path(error.filename)
        raise damaged_vectors(place.indexed_folder, missing, "is missing") from error


def _report(
    place: LibraryPlace,
    state: FolderState,
    missing: set[str],
    counts: IngestCounts,
    reported_paths: Collection[str],
) -> SyncReport:
    """Return what was done, with paths as the user writes them."""
    unlisted = [(error.path, error.reason) for error in state.scan.skipped]
    before = [(file.path, file.reason) for file in state.changes.still_unreadable]
    skipped = [
        *(ImageReadError(place.path(path), reason) for path, reason in unlisted + before),
        *counts.failed,
    ]
    return SyncReport(
        folder=place.folder,
        added=counts.added,
        changed=counts.changed,
        moved=counts.moved,
        removed=len(set(state.changes.gone) - missing) - counts.moved,
        unchanged=len(state.changes.unchanged) + counts.unchanged,
        cropped=counts.cropped,
        skipped=skipped,
        left_out=[_as_shown(place, left) for left in state.scan.left_out],
        missing=len(missing),
        missing_before=len(state.missing),
        newly_skipped=[error for error in skipped if error.path not in reported_paths],
    )


def _as_shown(place: LibraryPlace, left: LeftOut) -> LeftOut:
    same_as = str(place.path(left.same_as)) if left.same_as else ""
    return left._replace(path=str(place.path(left.path)), same_as=same_as)
