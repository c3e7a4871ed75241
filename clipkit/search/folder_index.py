"""FolderIndex: what is known of a folder's index, and what it hands out; it never changes it."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from clipkit.arguments import ENCODER_RULE, check_kind, check_path
from clipkit.errors import NotIndexedError
from clipkit.search import indexes
from clipkit.search.changes import FileState
from clipkit.search.filters import FilterOptions, read_filter
from clipkit.search.location import LibraryPlace
from clipkit.search.store.local.store import not_indexed

# Modules that a search does not need are imported by the methods that do: it starts sooner.
if TYPE_CHECKING:
    from clipkit.embeddings import EmbeddingArray
    from clipkit.encoder.encoder import Encoder
    from clipkit.search.export import ExportReport, TableFormat
    from clipkit.search.listing import LibraryImage
    from clipkit.search.lookup import IndexedFiles
    from clipkit.search.order import ListingSort
    from clipkit.search.remote_place import RemotePlace
    from clipkit.search.status import LibraryStatus
    from clipkit.search.stored_embeddings import LibraryEmbeddings
    from clipkit.search.sync_options import SyncOptions
    from clipkit.search.thumbnails import ThumbnailCache


class FolderIndex:
    """An index of a folder, and what can be read from it; `PhotoLibrary` makes it and searches it.

    Args:
        first: The images, and the directory of the folder's first index.
        encoder: Of the model whose index this is; None: the first index.
        place: The index to read, if that is another one.
        remote: The store that is searched instead of the index, and counted.
    """

    def __init__(
        self,
        first: LibraryPlace,
        encoder: "Encoder | None" = None,
        place: LibraryPlace | None = None,
        remote: "RemotePlace | None" = None,
    ) -> None:
        check_kind(first, "location", "libraries are made by PhotoLibrary.open(folder, encoder)")
        self._first = first
        self._encoder = encoder
        self._place = place or indexes.place_of_space(first, space_of(encoder))
        self._remote = remote

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
        meta = self._searched.store.meta()
        return "" if meta is None else meta.model

    @property
    def other_models(self) -> list[str]:
        """The names of the other models that the folder is indexed with."""
        return indexes.other_models(self._place, self._first)

    @property
    def is_indexed(self) -> bool:
        """Whether there is an index to search."""
        return self._searched.store.meta() is not None

    @property
    def crops(self) -> int:
        """How many rows an image has in the index: 1, the whole, or also those of its crops."""
        meta = self._searched.store.meta()
        return 1 if meta is None else meta.crops

    @property
    def kept_options(self) -> "SyncOptions":
        """What a new index would have to be told to be kept as this one is, for `sync`.

        Of exclude, include_hidden and crops those that are not as they are at first. If there is no
        index yet, those of an index of the same model with other weights.
        """
        options: SyncOptions = {}
        meta = self._place.store.meta()
        if meta is None and (former := indexes.places_of_model(self._first, self.model)):
            meta = former[-1].store.meta()
        if meta is None:
            return options
        if meta.exclude:
            options["exclude"] = meta.exclude
        if meta.include_hidden:
            options["include_hidden"] = True
        if meta.crops > 1:
            options["crops"] = meta.crops
        return options

    @property
    def num_missing(self) -> int:
        """How many indexed images were missing at the last sync; they are not searched."""
        return self._searched.store.count_missing(self._searched.prefix)

    def __len__(self) -> int:
        """Return how many images of the folder are indexed and were found at the last sync."""
        return self._searched.store.count(self._searched.prefix)

    def status(self) -> "LibraryStatus":
        """Return what the index holds and how far it lags behind the folder; change nothing."""
        from clipkit.search.status import read_status

        with self._index() as place:
            return read_status(place)

    def look_up(self, files: Sequence[FileState]) -> "IndexedFiles":
        """Return the embeddings of files of the folder: looked up where indexed, else encoded.

        A file has the fields of :class:`clipkit.FileState`; its path is relative to the folder.
        """
        from clipkit.search.lookup import IndexedFiles

        with self._index() as place:
            return IndexedFiles(place, files)

    def embeddings(self, **filters: Unpack[FilterOptions]) -> "LibraryEmbeddings":
        """Return the paths and embeddings of the indexed images that pass filters of `search`.

        N paths in order, and embeddings, float32, shape (N, D), rows of norm 1.
        """
        from clipkit.search.stored_embeddings import read_embeddings

        with self._index() as place:
            return read_embeddings(place, read_filter(filters))

    def embedding_of(self, path: str) -> "EmbeddingArray":
        """Return the embedding of one indexed image as it is stored, shape (D,), of norm 1.

        The path is relative to the folder, with / between its parts. No file is read, so that it
        can be of a store whose images are elsewhere, and nothing outside of the index is reached.
        """
        from clipkit.search.stored_embeddings import read_embedding

        with self._searched_index() as place:
            return read_embedding(place, path)

    def images(
        self, *, sort: "ListingSort" = "newest", **filters: Unpack[FilterOptions]
    ) -> "list[LibraryImage]":
        """Return the indexed images that pass filters of `search`.

        `sort` is "newest" or "oldest", by when they were taken or else last changed, "name", of the
        file, or "largest", by pixels.
        """
        from clipkit.search.listing import list_images

        with self._index() as place:
            return list_images(place, read_filter(filters, ("sort",)), sort)

    def sample_embeddings(self, count: int = 1024) -> "EmbeddingArray":
        """Return embeddings of some images of the index, which stand for all: shape (N, D).

        Drawn by their content, so evenly and always the same; each content once, all if there are
        no more than `count`. Their mean is where angles between the images are measured from.
        """
        from clipkit.search.stored_embeddings import read_sample

        with self._index() as place:
            return read_sample(place, count)

    def export(
        self,
        directory: str | os.PathLike[str],
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
        with self._index() as place:
            return export_library(place, target, read_filter(filters), table)

    def thumbnails(self) -> "ThumbnailCache":
        """Return an empty cache, bounded, in memory, of small renderings of the indexed images."""
        from clipkit.search.thumbnails import ThumbnailCache

        return ThumbnailCache(self._place)

    @property
    def _searched(self) -> "LibraryPlace | RemotePlace":
        """What is searched: the index, or the store that its vectors were sent to."""
        return self._remote or self._place

    @contextmanager
    def _index(self) -> Iterator[LibraryPlace]:
        """Give the index to read; where there is none, say which models the folder has one of."""
        try:
            yield self._place
        except NotIndexedError as error:
            raise not_indexed(self.folder, self.model, self.other_models) from error

    @contextmanager
    def _searched_index(self) -> "Iterator[LibraryPlace | RemotePlace]":
        """Give what is searched; a store must be of the encoder's space."""
        if self._remote is not None:
            self._remote.check_encoder(self._encoder)
            yield self._remote
            return
        with self._index() as place:
            yield place


def space_of(encoder: "Encoder | None") -> str | None:
    """Return the space of an encoder, None without one; refuse what is no encoder."""
    if encoder is None:
        return None
    check_kind(encoder, "space_id", ENCODER_RULE)
    return encoder.space_id
