"""PhotoLibrary: a folder of images with an index that is kept up to date and searched.

The library holds nothing open between two calls: each call reads, or writes, the last committed
state, so several threads and processes may search one library while one of them indexes.
"""

import dataclasses
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Unpack, cast

from clipkit.arguments import check_progress
from clipkit.errors import InputError
from clipkit.inputs.image_input import ImageInput
from clipkit.progress import Callbacks, Progress
from clipkit.search import indexes
from clipkit.search.filters import read_filter
from clipkit.search.folder_index import FolderIndex, space_of
from clipkit.search.location import inner_location, move_index_inside
from clipkit.search.query import SearchQuery
from clipkit.search.query_vectors import needed_encoder
from clipkit.search.search import (
    OTHER_OPTIONS,
    HitOptions,
    SearchHit,
    SearchHits,
    SearchOptions,
    search_library,
)
from clipkit.search.sync import SyncReport, sync_library
from clipkit.search.sync_options import SyncOptions, read_sync_options
from clipkit.search.sync_progress import SyncCallbacks, SyncProgress
from clipkit.search.watch import sync_on_changes

# Modules that a search does not need are imported by the methods that do: it starts sooner.
if TYPE_CHECKING:
    from clipkit.encoder.encoder import Encoder
    from clipkit.search.duplicates.groups import DuplicateReport
    from clipkit.search.indexing_estimate import IndexingEstimate
    from clipkit.search.remote_place import RemotePlace
    from clipkit.search.store.milvus.ann_index import IndexKind
    from clipkit.search.store_sync import StoreReport

__all__ = ["PhotoLibrary", "SearchHit", "SearchHits", "SyncReport"]

ImagePath = str | os.PathLike[str]


class PhotoLibrary(FolderIndex):
    """A folder of images and its index: `sync` brings them in step, `search` finds images.

    Make one with `open` or `open_nearest`. The index lies in the user's data directory (or
    ``$CLIPKIT_HOME``), never among the images unless asked to. Each model that a folder is indexed
    with has an index of its own: with an encoder the library uses the index of its model, without
    one the first index.

    Args:
        first: The images, and the directory of the folder's first index.
        encoder: Makes embeddings of images and queries. Without one the library can be
            counted, removed, and searched by ready embeddings.
        place: The index to use; None for that of the encoder's model.
        remote: The store to search instead.
    """

    @classmethod
    def open(
        cls,
        folder: ImagePath | None = None,
        encoder: "Encoder | None" = None,
        *,
        location: ImagePath | None = None,
        keep_here: bool = False,
        store: str | None = None,
    ) -> "PhotoLibrary":
        """Return the library of a folder, indexed or not.

        An index inside the folder is found wherever the two have moved; one in the user's data
        directory if the folder was moved or renamed on the same disk. `location` is a directory for
        it other than the default; with `keep_here` it is kept inside the folder, as ``.clipkit``,
        and the next sync moves an index from the user's data directory there.

        `store` is the URL of a Milvus collection, ``milvus://host:19530/photos``: searches go there
        instead of to the folder's own index, which `sync` keeps and then sends. To search, no
        folder is needed: it is the one that was indexed, which need not be on this machine.

        Raises InputError if there is no such folder, LibraryError if the index is damaged or the
        store does not answer.
        """
        place = (
            None if folder is None else indexes.choose_place(folder, location, keep_here=keep_here)
        )
        if store is None:
            if place is None:
                raise InputError(
                    "folder must be a path (a string or a Path), got None; to search "
                    "a store without one, give store=URL"
                )
            return cls(place, encoder)
        from clipkit.search.remote_place import open_remote

        remote = open_remote(store, place)
        return cls(remote.local, encoder, remote=remote)

    @classmethod
    def open_nearest(cls, folder: ImagePath, encoder: "Encoder | None" = None) -> "PhotoLibrary":
        """Return the library of a folder, or the part of the nearest parent's that covers it.

        So ``photos/2024`` is searched with the index of ``photos``, and not indexed twice. A
        parent's index does not count if it has no image of the folder (which is new, or excluded
        there) or was made with another model. If there is none, the library is the folder's own.
        """
        return cls(indexes.nearest_place(folder, space_of(encoder)), encoder)

    @classmethod
    def open_all(cls, folder: ImagePath) -> "list[PhotoLibrary]":
        """Return a library for each model that a folder is indexed with, the first index first.

        They have no encoder: this is for inspecting and removing indexes. The folder need not exist
        any more.
        """
        first = indexes.place_of_any_folder(folder)
        return [cls(first, place=place) for place in indexes.places_of_all(first)]

    def sync(
        self,
        *,
        progress: Progress | None = None,
        on_estimate: "Callable[[IndexingEstimate], None] | None" = None,
        on_commit: Callable[[SyncProgress], None] | None = None,
        **options: Unpack[SyncOptions],
    ) -> SyncReport:
        """Bring the index in step with the folder: new, changed, moved and deleted images.

        A moved, renamed or copied image costs reading it once, a new one is also encoded. Finished
        work is committed every two seconds, and at Ctrl-C; the next sync resumes there. A file that
        cannot be read is reported, and not tried again until it changes. Images that seem to have
        vanished with a disconnected disk are kept as missing (see `SyncReport`): no search shows
        them until they are back, and nothing is encoded again.

        What is committed can be searched while the rest is indexed, by the same `search` as ever:
        in `on_commit`, here with the best image so far.

            library.sync(on_commit=lambda so_far: print(so_far, library.search("a dog")[:1]))

        Args:
            progress: Called with how many images are done, and how many there are to do.
            on_estimate: Called once with how long indexing takes, as soon as its speed is known, if
                there are many new images.
            on_commit: Called with how much of the folder is searched now, after about a second and
                then every two, as long as new images are left. What it raises ends the sync.
            **options: exclude: patterns of names or paths to leave out, and include_hidden:
                whether names that start with a dot count; None, or without them: as last time.
                prune: whether to forget missing images; they are gone for good. order: in which
                new images are indexed, "spread" evenly over the folder, so that the first ones
                stand for the whole, or the "newest" files first. first: filters of `search`, such
                as {"path": "2024"}: images whose paths can pass them come before the others.
                embeddings: as `clipkit.open_embedding_files` opens them; an image whose content is
                there takes its embedding from them. crops: rows an image, 1, the whole, or 5, also
                four overlapping corners, of which the best counts in a search, so that small
                subjects are found for five times the work and room; None: as last time, at first 1.

        Returns:
            What was done and what was skipped; of a library with a store, also what was sent there.

        Raises:
            InputError: If the folder is gone, there is no encoder, or an option is none or invalid.
            LibraryError: If another process is writing (`LibraryBusyError`), or the index is
                damaged or cannot be written.
            SpaceMismatchError: If the index was rebuilt with another model meanwhile.
        """
        check_progress(progress)
        rules = read_sync_options(self._with_kept(options))
        callbacks = SyncCallbacks(progress, on_estimate, on_commit)
        encoder = needed_encoder(self._encoder)
        if self._first.location == inner_location(self.folder):
            move_index_inside(self._first)
            # There may be one of another model now.
            self._place = indexes.place_of_space(self._first, encoder.space_id)
        self.check_store(crops=rules.crops)  # before hours of indexing
        report = sync_library(self._place, encoder, rules, callbacks)
        if self._remote is None:
            return report
        told = (
            Callbacks()
            if progress is None
            else Callbacks(progress_for=lambda _: nullcontext(progress))
        )
        return dataclasses.replace(report, stored=self.send(callbacks=told))

    def _with_kept(self, options: SyncOptions) -> SyncOptions:
        """Return options for a sync, with what an index of other weights was told to keep."""
        if self._place.store.meta() is not None:
            return options
        kept = dict(self.kept_options)
        said = {n: value for n, value in options.items() if value is not None or n not in kept}
        return cast("SyncOptions", kept | said)

    def send(
        self, *, index: "IndexKind | None" = None, callbacks: Callbacks | None = None
    ) -> "StoreReport":
        """Bring the store in step with the folder's own index, as `sync` does at its end.

        What is new or changed is sent, and what is gone is removed; an interrupted run is resumed
        by the next one. `index` is that of the vectors, "flat", "ivf", "hnsw" or "diskann";
        None takes the one asked for before, or what suits their number. Its recall, with texts as
        queries, is in the report.

        Raises InputError if the library was opened without a store, SpaceMismatchError if that is
        of another model, LibraryError if its server refuses or stays away.
        """
        from clipkit.search.store.milvus.ann_index import check_kind_of_index
        from clipkit.search.store_sync import sync_store

        kind = None if index is None else check_kind_of_index(index)
        return sync_store(self._place, self._needed_remote().store, kind=kind, callbacks=callbacks)

    def check_store(self, *, crops: int | None = None) -> None:
        """Raise what sending would: the store does not answer, or is of another model, or crops.

        `crops` is what a sync will be asked for: a store takes an index without only.
        """
        if self._remote is None:
            return
        from clipkit.search.store_sync import check_one_row

        self._remote.check_encoder(self._encoder)
        meta = self._place.store.meta()
        stored = 1 if meta is None else meta.crops
        check_one_row(stored if crops is None else crops)

    def remove_from_store(self) -> None:
        """Delete the collection at the store; the folder's own index stays."""
        self._needed_remote().store.drop()

    def watch(self, stop: threading.Event | None = None) -> Iterator[SyncReport]:
        """Sync now, and again whenever something in the folder has changed; yield each report.

        The newest images come first. It ends with Ctrl-C, or when another thread sets `stop`.
        Errors are those of `sync`, and a LibraryError if the system cannot watch the folder.
        """
        return sync_on_changes(self.folder, partial(self.sync, order="newest"), stop)

    def search(
        self,
        query: SearchQuery | None = None,
        *,
        k: int = 10,
        min_relevance: float = 0.0,
        diversity: float = 0.0,
        more_like: Iterable[ImageInput] = (),
        less_like: Iterable[ImageInput] = (),
        **options: Unpack[SearchOptions],
    ) -> SearchHits:
        """Return the images closest to a query, as of the last commit.

        Filters come before the ranking: k images come back whenever k pass them. Images of
        the query, and those marked as more or less like what is sought, are left out. A camera's
        RAW file beside the JPEG of the shot is not a separate result: the JPEG's hit names it.

        Args:
            query: A string is text, never a path. An image is a path (`pathlib.Path`),
                bytes, an open binary file, a PIL image or a uint8 array. Or a `Query` of several
                parts; one embedding of a text or image, floating-point, shape (D,) or (1, D) and
                norm 1; or nothing if images are marked.
            k: The most images to return, k >= 1.
            min_relevance: Images that are less relevant are left out, 0..1: at 0.7, seven of ten
                are right; from 0.4 on an image counts as found.
            diversity: How much results should differ from each other, 0..1; 0 ranks by the query.
            more_like: Images like what is sought, to refit the query to; a string is a path here.
            less_like: Images unlike what is sought.
            **options: sort: "best", "newest", "oldest", "name" or "largest", the order of the best
                k. All others are filters, the fields of `IndexFilter`: path, not_path, after,
                before, min_width, min_height, orientation, camera, not_camera.

        Returns:
            A list, most relevant first, equally relevant ones by how well they fit; or as `sort`
            says. Its `verdict` is "found", "not sure" or "probably nothing".

        Raises:
            InputError: If the query is empty, of no such kind or cancels out, a value is out of
                range, or there is no encoder.
            ImageReadError: If an image of the query cannot be read.
            LibraryError: If the folder has not been indexed, or the index is damaged.
            SpaceMismatchError: If the index was rebuilt with another model meanwhile.
        """
        sort = options.pop("sort", "best")
        wanted = HitOptions(k, min_relevance, diversity, sort, read_filter(options, OTHER_OPTIONS))
        with self._searched_index() as place:
            return search_library(
                place,
                self._encoder,
                query,
                wanted,
                more_like=more_like,
                less_like=less_like,
            )

    def duplicates(
        self,
        *,
        find_near: bool = True,
        threshold: float | None = None,
        progress: Progress | None = None,
    ) -> "DuplicateReport":
        """Return which images the folder has more than once; nothing is deleted.

        With `find_near`, altered copies (re-encoded, resized, lightly cropped) count too, if they
        are as similar as `threshold`, 0..1; None calibrates it on copies of images of this library.
        The best copy of each group is first; paths are relative to the folder.
        """
        from clipkit.search.duplicates.search import find_duplicates

        check_progress(progress)
        encoder = needed_encoder(self._encoder) if find_near else None
        with self._index() as place:
            return find_duplicates(place, encoder, threshold=threshold, progress=progress)

    def _needed_remote(self) -> "RemotePlace":
        if self._remote is None:
            raise InputError(
                "there is no store to send to: open the library with one, as in "
                'PhotoLibrary.open(folder, encoder, store="milvus://localhost:19530/photos")'
            )
        return self._remote

    def remove(self) -> None:
        """Delete the index, and nothing else; not that of a parent folder (InputError)."""
        indexes.remove_index(self._place, self._first)
