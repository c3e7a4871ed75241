"""PhotoLibrary: a folder of images with an index that is kept up to date and searched.

The library holds nothing open between two calls: each call reads, or writes, the last committed
state, so several threads and processes may search one library while one of them indexes.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self, Unpack

from clipkit.arguments import ENCODER_RULE, check_kind, check_path, check_progress, check_whole
from clipkit.errors import NotIndexedError
from clipkit.inputs.image_input import ImageInput
from clipkit.progress import Progress
from clipkit.search import indexes
from clipkit.search.changes import FileState
from clipkit.search.filters import FilterOptions, read_filter
from clipkit.search.indexing_order import IndexingOrder
from clipkit.search.location import (
    LibraryPlace,
    existing_folder,
    existing_location,
    indexed_parents,
    inner_location,
    move_index_inside,
)
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
from clipkit.search.store.local.store import not_indexed
from clipkit.search.sync import SyncOptions, SyncReport, sync_library
from clipkit.search.sync_progress import SyncCallbacks, SyncProgress
from clipkit.search.watch import sync_on_changes

# Modules that a search does not need are imported by the methods that do: it starts sooner.
if TYPE_CHECKING:
    from clipkit.embeddings import EmbeddingArray
    from clipkit.encoder.encoder import Encoder
    from clipkit.search.duplicates.groups import DuplicateReport
    from clipkit.search.export import ExportReport, LibraryEmbeddings, TableFormat
    from clipkit.search.indexing_estimate import IndexingEstimate
    from clipkit.search.listing import LibraryImage
    from clipkit.search.lookup import IndexedFiles
    from clipkit.search.order import ListingSort
    from clipkit.search.status import LibraryStatus
    from clipkit.search.thumbnails import ThumbnailCache

__all__ = ["PhotoLibrary", "SearchHit", "SearchHits", "SyncReport"]

ImagePath = str | os.PathLike[str]


class PhotoLibrary:
    """A folder of images and its index: `sync` brings them in step, `search` finds images.

    Make one with `open` or `open_nearest`. The index lies in the user's data directory (or
    ``$CLIPKIT_HOME``), never among the images unless asked to. Each model that a folder is indexed
    with has an index of its own: with an encoder the library uses the index of its model, without
    one the first index.

    Args:
        place: The images, and the directory of the folder's first index.
        encoder: Makes embeddings of images and queries. Without one the library can be
            counted, removed, and searched by ready embeddings.
    """

    def __init__(self, place: LibraryPlace, encoder: "Encoder | None" = None) -> None:
        check_kind(place, "location", "libraries are made by PhotoLibrary.open(folder, encoder)")
        if encoder is not None:
            check_kind(encoder, "space_id", ENCODER_RULE)
        self._first = place
        self._encoder = encoder
        self._place = self._own_place()

    @classmethod
    def open(
        cls,
        folder: ImagePath,
        encoder: "Encoder | None" = None,
        *,
        location: ImagePath | None = None,
        keep_here: bool = False,
    ) -> "PhotoLibrary":
        """Return the library of a folder, indexed or not.

        An index inside the folder is found wherever the two have moved; one in the user's data
        directory if the folder was moved or renamed on the same disk. `location` is a directory for
        it other than the default; with `keep_here` it is kept inside the folder, as ``.clipkit``,
        and the next sync moves an index from the user's data directory there.

        Raises InputError if there is no such folder, LibraryError if the index is damaged.
        """
        return cls(indexes.choose_place(folder, location, keep_here=keep_here), encoder)

    @classmethod
    def open_nearest(cls, folder: ImagePath, encoder: "Encoder | None" = None) -> "PhotoLibrary":
        """Return the library of a folder, or the part of the nearest parent's that covers it.

        So ``photos/2024`` is searched with the index of ``photos``, and not indexed twice. A
        parent's index does not count if it has no image of the folder (which is new, or excluded
        there) or was made with another model. If there is none, the library is the folder's own.
        """
        path = existing_folder(folder)
        indexes.adopt_index(path)
        for place in indexed_parents(path):
            library = cls(place, encoder)
            is_own = not place.prefix and library._place.catalog_path.is_file()
            if is_own or len(library) or library.num_missing:
                return library
        return cls.open(path, encoder)

    @classmethod
    def open_all(cls, folder: ImagePath) -> "list[PhotoLibrary]":
        """Return a library for each model that a folder is indexed with, the first index first.

        They have no encoder: this is for inspecting and removing indexes. The folder need not exist
        any more.
        """
        path = check_path(folder, "folder")
        if path.is_dir():
            indexes.adopt_index(path)
        first = LibraryPlace(path, existing_location(path))
        return [cls(first)._at(place) for place in indexes.places_of_all(first)]

    @property
    def folder(self) -> Path:
        """The image folder, as it was given."""
        return self._place.folder

    @property
    def location(self) -> Path:
        """The directory of the index."""
        return self._place.location

    @property
    def indexed_folder(self) -> Path:
        """The folder that was indexed: `folder`, or a parent folder of it."""
        return self._place.indexed_folder

    @property
    def model(self) -> str:
        """The name of the model that makes, or has made, the embeddings; "" if there is none."""
        if self._encoder is not None:
            return self._encoder.name
        meta = self._place.store.meta()
        return "" if meta is None else meta.model

    @property
    def other_models(self) -> list[str]:
        """The names of the other models that the folder is indexed with."""
        own = self._place.store.meta()
        space_id = own.space_id if own is not None else ""
        metas = indexes.metas_of_all(self._first)
        return [meta.model for meta in metas if meta.space_id != space_id]

    @property
    def is_indexed(self) -> bool:
        """Whether there is an index to search."""
        return self._place.store.meta() is not None

    @property
    def num_missing(self) -> int:
        """How many indexed images were missing at the last sync; they are not searched."""
        return self._place.store.count_missing(self._place.prefix)

    def __len__(self) -> int:
        """Return how many images of the folder are indexed and were found at the last sync."""
        return self._place.store.count(self._place.prefix)

    def status(self) -> "LibraryStatus":
        """Return what the index holds and how far it lags behind the folder; change nothing."""
        from clipkit.search.status import read_status

        return read_status(self._place)

    def sync(  # noqa: PLR0913 - what to index, and who is told of it
        self,
        *,
        progress: Progress | None = None,
        exclude: Sequence[str] | None = None,
        include_hidden: bool | None = None,
        prune: bool = False,
        order: IndexingOrder = "spread",
        on_estimate: "Callable[[IndexingEstimate], None] | None" = None,
        on_commit: Callable[[SyncProgress], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
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
            exclude: Patterns of names and paths to leave out, as `find_images` has them; None
                for those of last time.
            include_hidden: Whether names that start with a dot count; None for as last time.
            prune: Whether to forget missing images: they are gone for good.
            order: In which order new images are indexed: "spread" evenly over the folder, so that
                the first ones stand for the whole, or the "newest" files first.
            on_estimate: Called once with how long indexing takes, as soon as its speed is known, if
                there are many new images.
            on_commit: Called with how much of the folder is searched now, after about a second and
                then every two, as long as new images are left. What it raises ends the sync.
            clock: Returns the time in seconds.

        Returns:
            What was done and what was skipped.

        Raises:
            InputError: If the folder is gone, there is no encoder, a pattern is no string, or there
                is no such order.
            LibraryError: If another process is writing (`LibraryBusyError`), or the index is
                damaged or cannot be written.
            SpaceMismatchError: If the index was rebuilt with another model meanwhile.
        """
        check_progress(progress)
        if self._first.location == inner_location(self.folder):
            move_index_inside(self._first)
            self._place = self._own_place()  # there may be one of another model now
        options = SyncOptions(exclude, include_hidden, prune, order)
        callbacks = SyncCallbacks(progress, on_estimate, on_commit)
        encoder = needed_encoder(self._encoder)
        return sync_library(self._place, encoder, options, callbacks, clock=clock)

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
        try:
            return search_library(
                self._place, self._encoder, query, wanted, more_like=more_like, less_like=less_like
            )
        except NotIndexedError as error:
            raise self._not_indexed() from error

    def look_up(self, files: Sequence[FileState]) -> "IndexedFiles":
        """Return the embeddings of files of the folder: looked up where indexed, else encoded.

        A file has the fields of :class:`clipkit.FileState`; its path is relative to the folder.
        """
        from clipkit.search.lookup import IndexedFiles

        return IndexedFiles(self._place, files)

    def embeddings(self, **filters: Unpack[FilterOptions]) -> "LibraryEmbeddings":
        """Return the paths and embeddings of the indexed images that pass filters of `search`.

        N paths in order, and embeddings, float32, shape (N, D), rows of norm 1.
        """
        from clipkit.search.export import read_embeddings

        return read_embeddings(self._place, read_filter(filters))

    def images(
        self, *, sort: "ListingSort" = "newest", **filters: Unpack[FilterOptions]
    ) -> "list[LibraryImage]":
        """Return the indexed images that pass filters of `search`.

        `sort` is "newest" or "oldest", by when they were taken or else last changed, "name", of the
        file, or "largest", by pixels.
        """
        from clipkit.search.listing import list_images

        try:
            return list_images(self._place, read_filter(filters, ("sort",)), sort)
        except NotIndexedError as error:
            raise self._not_indexed() from error

    def sample_embeddings(self, count: int = 1024) -> "EmbeddingArray":
        """Return embeddings of some images of the index, which stand for all: shape (N, D).

        Drawn by their content, so evenly and always the same; each content once, all if there are
        no more than `count`. Their mean is where angles between the images are measured from.
        """
        from clipkit.embeddings import EmbeddingArray, normalize_rows

        try:
            with self._place.store.snapshot() as snapshot:
                rows = normalize_rows(snapshot.sample(check_whole(count, "count")))
                return EmbeddingArray(rows, snapshot.space_id)
        except NotIndexedError as error:
            raise self._not_indexed() from error

    def export(
        self,
        directory: ImagePath,
        *,
        table: "TableFormat | None" = None,
        **filters: Unpack[FilterOptions],
    ) -> "ExportReport":
        """Write the embeddings and what is known of each image to files that others can read.

        The directory is new or empty, or one that was exported to before. ``embeddings.npy`` is
        float32, shape (N, D); row i of ``images.parquet`` or ``images.jsonl`` (`table`: "parquet",
        "jsonl", or None for Parquet where pyarrow is installed) is the image of its row i;
        ``export.json`` names the model and its space. `filters` are those of `search`.
        """
        from clipkit.search.export import export_library

        target = check_path(directory, "directory")
        return export_library(self._place, target, read_filter(filters), table)

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
        if not self.is_indexed:
            raise self._not_indexed()
        encoder = needed_encoder(self._encoder) if find_near else None
        return find_duplicates(self._place, encoder, threshold=threshold, progress=progress)

    def thumbnails(self) -> "ThumbnailCache":
        """Return an empty cache, bounded, in memory, of small renderings of the indexed images."""
        from clipkit.search.thumbnails import ThumbnailCache

        return ThumbnailCache(self._place)

    def remove(self) -> None:
        """Delete the index, and nothing else; not that of a parent folder (InputError)."""
        indexes.remove_index(self._place, self._first)

    def _not_indexed(self) -> NotIndexedError:
        return not_indexed(self.folder, self.model, self.other_models)

    def _own_place(self) -> LibraryPlace:
        """Return the index of the encoder's model; without an encoder, the first index."""
        if self._encoder is not None:
            return indexes.place_of_space(self._first, self._encoder.space_id)
        return next(indexes.places_of_all(self._first), self._first)

    def _at(self, place: LibraryPlace) -> Self:
        """Switch the library to another index of the folder, and return it."""
        self._place = place
        return self
