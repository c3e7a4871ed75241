"""A folder of pictures kept in step with an index, and searched.

The library holds nothing open between two calls: each call reads, or writes, the last committed
state, so several threads and processes may search one library while one of them indexes.

Shapes: D dimensions of the shared space.
"""

import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings, mix_embeddings
from clipkit.errors import InputError, LibraryError
from clipkit.search.catalog import Catalog, CatalogMeta
from clipkit.search.closing import Closing
from clipkit.search.location import (
    LibraryPlace,
    default_location,
    existing_folder,
    indexed_parents,
)
from clipkit.search.lock import WriterLock
from clipkit.search.query import Query, parse_query
from clipkit.search.ranking import rank
from clipkit.search.schema import damaged_library
from clipkit.search.sync import Progress, SyncOptions, SyncReport, check_space, sync_library
from clipkit.search.vectors import VectorReader, vectors_files

if TYPE_CHECKING:
    from clipkit.encoder import Encoder

__all__ = ["PhotoLibrary", "SearchHit", "SyncReport"]

_NORM_ERROR = 1e-3  # of embeddings that went through half precision
_ATTEMPTS = 5  # to read a library whose vectors file is being replaced


@dataclass(frozen=True)
class SearchHit:
    """One picture a search found."""

    similarity: float  # cosine to the query, -1..1; higher is closer
    path: Path  # the library's folder, as it was given, joined with the path inside it


class PhotoLibrary(Closing):
    """A folder of pictures and its index: `sync` brings them in step, `search` finds pictures.

    Make one with `PhotoLibrary.open` or `PhotoLibrary.open_nearest`. The index lies in the
    user's data directory (or ``$CLIPKIT_HOME``), never among the pictures.

    Args:
        place: The pictures and the index.
        encoder: Makes embeddings of pictures and queries. Without one the library can be
            counted, removed, and searched by ready embeddings.
    """

    def __init__(self, place: LibraryPlace, encoder: "Encoder | None" = None) -> None:
        self._place = place
        self._encoder = encoder

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        encoder: "Encoder | None" = None,
        *,
        location: str | os.PathLike[str] | None = None,
    ) -> "PhotoLibrary":
        """Return the library of a folder, indexed or not; nothing is read but its catalog.

        Args:
            folder: The picture folder.
            encoder: Makes embeddings of pictures and queries.
            location: Another directory for the index than the usual one.

        Returns:
            The library.

        Raises:
            InputError: If there is no such folder.
            LibraryError: If the index is damaged or of a newer clipkit.
            SpaceMismatchError: If the index was built with another model.
        """
        path = existing_folder(folder)
        index = default_location(path) if location is None else Path(location)
        return cls(LibraryPlace(path, index), encoder)._checked()

    @classmethod
    def open_nearest(
        cls, folder: str | os.PathLike[str], encoder: "Encoder | None" = None
    ) -> "PhotoLibrary":
        """Return the library of a folder, or its part of the nearest parent's that knows it.

        Somebody who has indexed ``photos`` and searches ``photos/2024`` gets what is in there
        without indexing it twice. A parent's index that has no picture of the folder, because
        it is new or left out there, does not count. If there is none, the library is the
        folder's own.

        Args:
            folder: The picture folder.
            encoder: Makes embeddings of pictures and queries.

        Returns:
            The library, which shows and syncs what lies in the folder.

        Raises:
            InputError: If there is no such folder.
            LibraryError: If the index is damaged or of a newer clipkit.
            SpaceMismatchError: If the index was built with another model.
        """
        path = existing_folder(folder)
        for place in indexed_parents(path):
            library = cls(place, encoder)
            if not place.prefix or len(library):
                return library._checked()
        return cls.open(path, encoder)

    @property
    def folder(self) -> Path:
        """The picture folder, as it was given."""
        return self._place.folder

    @property
    def location(self) -> Path:
        """The directory of the index."""
        return self._place.location

    @property
    def indexed_folder(self) -> Path:
        """The folder that was indexed: `folder`, or the parent whose part it is."""
        return self._place.indexed_folder

    @property
    def is_indexed(self) -> bool:
        """Whether there is an index to search."""
        return self._stored_meta() is not None

    def __len__(self) -> int:
        """Return how many pictures of the folder are indexed."""
        catalog = self._open_catalog()
        if catalog is None:
            return 0
        with catalog:
            return catalog.count(self._place.prefix)

    def sync(
        self,
        *,
        progress: Progress | None = None,
        exclude: Sequence[str] | None = None,
        include_hidden: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> SyncReport:
        """Bring the index in step with the folder: new, changed and deleted pictures.

        What is done is committed every two seconds, and on the way out of Ctrl-C; the next sync
        goes on from there. A file that cannot be read is reported, and not tried again
        until it changes.

        Args:
            progress: Called with how many pictures are done, and how many there are to do.
            exclude: Patterns of names and paths to leave out, as `find_images` has them; None
                for those of last time.
            include_hidden: Whether names that start with a dot count; None for as last time.
            clock: Tells the time in seconds.

        Returns:
            What was done and what was skipped.

        Raises:
            InputError: If the folder is gone, or there is no encoder.
            LibraryError: If another process is writing (`LibraryBusyError`), or the index is
                damaged or cannot be written.
            SpaceMismatchError: If the index was built with another model.
        """
        if self._place.prefix and not (exclude is None and include_hidden is None):
            raise InputError(
                f"{self.folder} is a part of the index of {self.indexed_folder}: what to leave "
                "out is said for the whole of it"
            )
        return sync_library(
            self._place,
            self._needed_encoder(),
            SyncOptions(exclude, include_hidden),
            progress=progress,
            clock=clock,
        )

    def search(self, query: str | Query | Embeddings, *, k: int = 10) -> list[SearchHit]:
        """Return the pictures closest to a query, as of the last commit.

        Pictures of the query are left out of its results.

        Args:
            query: Words, a picture such as "./cat.jpg", a parsed query, or one embedding of
                shape (D,) or (1, D) and norm 1.
            k: The most pictures to return, k >= 1.

        Returns:
            Best first; equal similarities in the order of the paths.

        Raises:
            InputError: If the query is empty or names no existing picture, an embedding has
                another shape or norm, k is less than 1, or there is no encoder.
            ImageReadError: If a picture of the query cannot be read.
            LibraryError: If the folder has not been indexed, or the index is damaged.
            SpaceMismatchError: If the index was built with another model.
        """
        if k < 1:
            raise InputError(f"k must be at least 1, got {k}")
        if not self.is_indexed:
            raise self._not_indexed()  # before a model is loaded for it
        hidden: set[str] = set()
        if isinstance(query, np.ndarray):
            embedding = _one_embedding(query)
        else:
            parsed = parse_query(query) if isinstance(query, str) else query
            pictures = [part.path for part in parsed.parts if part.path is not None]
            hidden = {inner for path in pictures for inner in self._place.inner_paths(path)}
            embedding = self._embed(parsed)
        with self._committed() as (catalog, meta, vectors):
            if not isinstance(query, np.ndarray):
                check_space(meta, self._needed_encoder(), self._place)
            if embedding.shape != (meta.embed_dim,):
                raise InputError(
                    f"an embedding to search for must have shape ({meta.embed_dim},) or "
                    f"(1, {meta.embed_dim}), got {embedding.shape}"
                )
            prefix = self._place.prefix
            best = rank(catalog, vectors, embedding, k=k, prefix=prefix, hidden=hidden)
        return [SearchHit(similarity, self._place.path(path)) for path, similarity in best]

    def remove(self) -> None:
        """Delete the index, and nothing else: the pictures stay.

        Raises:
            InputError: If this is a part of a parent folder's library.
            LibraryError: If another process is writing, or a file cannot be deleted.
        """
        if self._place.prefix:
            raise InputError(
                f"{self.folder} is a part of the index of {self.indexed_folder}, which can only "
                "be removed as a whole"
            )
        if not self.location.is_dir():
            return
        catalog = self._place.catalog_path
        try:
            with WriterLock(self._place.lock_path, self.folder):
                # The catalog goes last of its files: a new one would take up an old one's log.
                for suffix in ("-wal", "-shm", "-journal", ""):
                    catalog.with_name(catalog.name + suffix).unlink(missing_ok=True)
                for path in vectors_files(self.location):
                    path.unlink()
            self._place.lock_path.unlink(missing_ok=True)
            if not any(self.location.iterdir()):
                self.location.rmdir()
        except OSError as error:
            raise LibraryError(
                f"the index at {self.location} cannot be removed: {error}"
            ) from error

    def close(self) -> None:
        """Do nothing: there is nothing open between two calls."""

    def _checked(self) -> Self:
        """Return the library, unless no call could use it with its encoder."""
        if self._encoder is not None:
            check_space(self._stored_meta(), self._encoder, self._place)
        return self

    def _needed_encoder(self) -> "Encoder":
        if self._encoder is None:
            raise InputError(
                "this needs a model: open the library with one, as in "
                "PhotoLibrary.open(folder, clipkit.load())"
            )
        return self._encoder

    def _open_catalog(self) -> Catalog | None:
        return Catalog.open(self._place.catalog_path, self.indexed_folder)

    def _stored_meta(self) -> CatalogMeta | None:
        catalog = self._open_catalog()
        if catalog is None:
            return None
        with catalog:
            return catalog.meta()

    @contextmanager
    def _committed(self) -> Iterator[tuple[Catalog, CatalogMeta, VectorReader]]:
        """Hold one committed state: the catalog, what holds for it, and its vectors."""
        for _ in range(_ATTEMPTS):
            catalog = self._open_catalog()
            if catalog is None:
                raise self._not_indexed()
            with catalog, catalog.snapshot():
                meta = catalog.meta()
                if meta is None:
                    raise self._not_indexed()
                path = self.location / meta.vectors_file
                try:
                    vectors = VectorReader(path, meta.embed_dim, meta.num_rows, self.indexed_folder)
                except FileNotFoundError:
                    continue  # a writer has replaced it since: look again
                yield catalog, meta, vectors
                return
        raise damaged_library(self.indexed_folder, f"{path} is missing")

    def _not_indexed(self) -> LibraryError:
        folder = shlex.quote(str(self.folder))
        return LibraryError(f"{self.folder} has not been indexed: run  clipkit index {folder}")

    def _embed(self, query: Query) -> NDArray[np.float32]:
        """Return the embedding of a query, shape (D,)."""
        encoder = self._needed_encoder()
        rows: list[Embeddings] = []
        for part in query.parts:
            if not part.is_picture:
                rows.append(encoder.encode_texts([part.content]))
            elif part.path is None:
                rows.append(encoder.encode_images([part.content], allow_urls=True))
            else:
                known = self._known_embedding(part.path)
                rows.append(encoder.encode_images([part.path]) if known is None else known)
        weights = [part.weight for part in query.parts]
        mixed: NDArray[np.float32] = mix_embeddings(np.concatenate(rows), weights)[0]
        return mixed

    def _known_embedding(self, path: Path) -> Embeddings | None:
        """Return the embedding of a picture that is indexed as it is now, shape (1, D).

        It spares loading the image tower, which costs more than the search.
        """
        names = self._place.inner_paths(path)
        if not names or not self.is_indexed:
            return None
        status = path.stat()
        with self._committed() as (catalog, meta, vectors):
            check_space(meta, self._needed_encoder(), self._place)
            for name in names:
                image = catalog.find(name)
                if image and (image.size, image.mtime_ns) == (status.st_size, status.st_mtime_ns):
                    return vectors.take(np.array([image.row]))
        return None


def _one_embedding(query: Embeddings) -> NDArray[np.float32]:
    """Return a query that is an embedding already as float32, shape (D,)."""
    row: NDArray[np.float32] = query[0] if query.ndim == 2 and len(query) == 1 else query
    norm = float(np.linalg.norm(row))
    if not abs(norm - 1) < _NORM_ERROR:
        raise InputError(
            f"an embedding to search for must have norm 1, got {norm:.6g}: normalize_rows does that"
        )
    return row.astype(np.float32)
