"""The local vector store: a directory with a SQLite catalog and a file of vectors.

A scan of all vectors finds the candidates, so they are complete: the best by exact score are
surely among them.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings
from clipkit.errors import InputError, NotIndexedError
from clipkit.search.filters import IndexFilter, Selection
from clipkit.search.store.base import ALL, Candidates, Ids, Score
from clipkit.search.store.local.best_rows import BestRows
from clipkit.search.store.local.catalog import Catalog
from clipkit.search.store.local.crop_file import CropReader, open_crops
from clipkit.search.store.local.vectors import SCAN_ERROR, VectorReader, damaged_vectors
from clipkit.search.store.local.writer import LibraryWriter, compact, writer_lock
from clipkit.search.store.records import CatalogMeta, ImageRow

CATALOG_NAME = "catalog.sqlite"
LOCK_NAME = "writer.lock"

_ATTEMPTS = 5  # to read a library whose vectors file is being replaced


@dataclass(frozen=True)
class LocalSnapshot:
    """What was committed at one moment; an id is the number of a row of the vectors file.

    Attributes:
        catalog: The records, in a transaction that sees no later commit.
        meta: The metadata of the index.
        vector_file: The vectors, dead rows included.
        crop_file: Those of the images' crops; None: there are none.
    """

    catalog: Catalog
    meta: CatalogMeta
    vector_file: VectorReader
    crop_file: CropReader | None = None

    @property
    def embed_dim(self) -> int:
        """D."""
        return self.meta.embed_dim

    @property
    def space_id(self) -> str:
        """Identity of the space the vectors are in."""
        return self.meta.space_id

    def candidates(self, score: Score, k: int, where: Selection = ALL) -> Candidates:
        """Return every image that can be among the k with the best scores."""
        chosen = None  # also dead rows, which is cheaper than to list the others
        if where.prefix or where.accepted != IndexFilter():
            chosen = self.catalog.rows(where.prefix, where.accepted)
        num_searched = self.catalog.count() if chosen is None else len(chosen)
        num_scanned = self.vector_file.num_rows if chosen is None else len(chosen)
        # Among the best there may be hidden and dead rows.
        num_wanted = k + len(where.hidden) + min(k, num_scanned - num_searched)
        while True:
            best = self._scan(score, num_wanted, chosen)
            rows, lowest, highest = best.found()
            paths = self.catalog.paths(rows)  # dead rows have none
            is_live = np.array(
                [row in paths and paths[row] not in where.hidden for row in rows.tolist()], bool
            )
            # Nothing above the threshold is missing: if k live rows surely reach it, it suffices.
            if np.isneginf(best.threshold) or (lowest[is_live] >= best.threshold).sum() >= k:
                break
            num_wanted *= 4
        rows, lowest, highest = rows[is_live], lowest[is_live], highest[is_live]
        if len(rows) > k:
            rows = rows[highest >= np.partition(lowest, len(rows) - k)[len(rows) - k]]
        return Candidates(
            rows,
            [paths[row] for row in rows.tolist()],
            is_complete=True,
            num_searched=num_searched,
        )

    def vectors(self, ids: Ids) -> Embeddings:
        """Return vectors, shape (K, D), in the order of the ids."""
        rows = np.asarray(ids, dtype=np.int64)
        different = set(rows.tolist())  # np.unique imports the masked arrays: 7 ms
        if self.catalog.count_rows(different) < len(different):
            self.records(rows)  # says which is unknown
        found = self.vector_file.take(rows)
        self.vector_file.check(found)
        return found

    def with_crops(self, ids: Ids) -> Embeddings:
        """Return the vectors of images and of their crops, shape (K, R, D), the whole first."""
        wholes = self.vectors(ids)
        if self.crop_file is None:
            return wholes[:, None]
        found = self.crop_file.take(wholes, np.asarray(ids, dtype=np.int64))
        self.crop_file.file.check(found)
        return found

    def records(self, ids: Ids) -> list[ImageRow]:
        """Return the records of images, in the order of the ids."""
        found = self.catalog.entries(ids)
        try:
            return [found[int(number)] for number in ids]
        except KeyError as error:
            raise InputError(f"there is no image with the id {error} in this snapshot") from error

    def find(self, path: str) -> ImageRow | None:
        """Return the record of the image at a path, None if there is none."""
        return self.catalog.find(path)

    def find_alike(self, size: int, mtime_ns: int) -> list[str]:
        """Return the paths of images whose files have this size and modification time."""
        return self.catalog.find_alike(size, mtime_ns)

    def sample(self, size: int) -> Embeddings:
        """Return the vectors of the images with the smallest digests, each content once."""
        found = self.vector_file.take(self.catalog.sample(size))
        self.vector_file.check(found)
        return found

    def count(self, where: Selection = ALL) -> int:
        """Return how many images there are."""
        if not where.hidden:
            return self.catalog.count(where.prefix, where.accepted)
        paths = self.catalog.paths(self.catalog.rows(where.prefix, where.accepted))
        return sum(path not in where.hidden for path in paths.values())

    def background(self) -> Mapping[str, NDArray[np.float32]]:
        """Return the embeddings of the words that queries are weighed against."""
        return self.catalog.background()

    def _scan(self, score: Score, num_wanted: int, chosen: NDArray[np.int64] | None) -> BestRows:
        """Return the rows that can be among so many best, dead ones too."""
        best = BestRows(num_wanted)
        for rows, products in self.vector_file.scan(score.directions, chosen):
            if self.crop_file is not None:
                products = self.crop_file.beside(products, rows, score.directions)
            best.add(rows, *score.bounds(products, SCAN_ERROR))
        return best


class LocalStore:
    """The index of a folder, in a directory of its own.

    Args:
        location: The directory; it need not exist yet.
        folder: The image folder, for messages.
        asked_folder: The part of it that the user named, for the message that it is not indexed;
            None if that is the whole folder.
    """

    def __init__(self, location: Path, folder: Path, asked_folder: Path | None = None) -> None:
        self._location = location
        self._folder = folder
        self._asked_folder = asked_folder or folder

    @contextmanager
    def snapshot(self) -> Iterator[LocalSnapshot]:
        """Hold the last committed state.

        Yields:
            The state.

        Raises:
            NotIndexedError: If the folder has not been indexed.
            LibraryError: If the index is damaged.
        """
        for _ in range(_ATTEMPTS):
            catalog = self._open()
            if catalog is None:
                raise not_indexed(self._asked_folder)
            with catalog, catalog.snapshot():
                meta = catalog.meta()
                if meta is None:
                    raise not_indexed(self._asked_folder)
                path = self._location / meta.vectors_file
                try:
                    vectors = VectorReader(path, meta.embed_dim, meta.num_rows, self._folder)
                    crops = open_crops(self._location, meta, self._folder)
                except FileNotFoundError as error:
                    missing = Path(error.filename)
                    continue  # a writer has replaced it since: read again
                yield LocalSnapshot(catalog, meta, vectors, crops)
                return
        raise damaged_vectors(self._folder, missing, "is missing")

    def meta(self) -> CatalogMeta | None:
        """Return the metadata of the index, None if the folder has not been indexed."""
        catalog = self._open()
        if catalog is None:
            return None
        with catalog:
            return catalog.meta()

    def count(self, prefix: str = "") -> int:
        """Return how many images are indexed in a folder, "" or "folder/"; 0 without an index."""
        catalog = self._open()
        if catalog is None:
            return 0
        with catalog:
            return catalog.count(prefix)

    def count_missing(self, prefix: str = "") -> int:
        """Return how many indexed images were missing at the last sync."""
        catalog = self._open()
        if catalog is None:
            return 0
        with catalog:
            return len(catalog.missing(prefix))

    def create(self, meta: CatalogMeta) -> None:
        """Make an empty index, or change the metadata of one.

        Args:
            meta: The metadata of the index.

        Raises:
            LibraryError: If another process is writing, or it cannot be written.
        """
        self._location.mkdir(parents=True, exist_ok=True)
        with self._locked():
            catalog = Catalog.open(self._location / CATALOG_NAME, self._folder, create=True)
            assert catalog is not None
            with catalog, LibraryWriter(catalog, self._location, meta):
                pass  # leaving it commits the metadata

    def upsert(self, records: Sequence[ImageRow], vectors: Embeddings) -> None:
        """Add images, or replace the records of their paths, as one change."""
        with self._writing() as (writer, meta):
            if vectors.shape != (len(records), meta.embed_dim):
                raise InputError(
                    f"{len(records)} records need vectors of shape "
                    f"({len(records)}, {meta.embed_dim}), got {vectors.shape}"
                )
            if meta.crops > 1:
                raise InputError(
                    f"the index of {self._folder} has {meta.crops} embeddings an image: only "
                    "indexing its folder adds to it"
                )
            writer.add(records, vectors)

    def remove(self, paths: Iterable[str]) -> None:
        """Forget images, as one change; their vectors stay for a while, as `compact` says."""
        with self._writing() as (writer, _):
            writer.remove(paths)

    @contextmanager
    def _writing(self) -> Iterator[tuple[LibraryWriter, CatalogMeta]]:
        """Give the writer of one change, under the lock."""
        catalog = self._open()
        if catalog is None:
            raise not_indexed(self._asked_folder)
        with catalog, self._locked():
            meta = catalog.meta()
            if meta is None:
                raise not_indexed(self._asked_folder)
            with LibraryWriter(catalog, self._location, meta) as writer:
                yield writer, meta
            compact(catalog, self._location, self._folder)

    def _locked(self) -> AbstractContextManager[None]:
        return writer_lock(self._location / LOCK_NAME, self._folder)

    def _open(self) -> Catalog | None:
        return Catalog.open(self._location / CATALOG_NAME, self._folder)


def not_indexed(folder: Path, model: str = "", other_models: Sequence[str] = ()) -> NotIndexedError:
    """Return the error for a folder without an index, or without one of this model."""
    command = f"clipkit index {shlex.quote(str(folder))}"
    if not other_models:
        return NotIndexedError(
            f"{folder} has not been indexed: run  {command}  (in Python: library.sync())"
        )
    if model in other_models:
        return NotIndexedError(
            f"{folder} has not been indexed with {model} as it is, only with other weights or "
            f"dimensions of it: run  {command} --model {shlex.quote(model)}"
        )
    return NotIndexedError(
        f"{folder} has not been indexed with {model}, only with {', '.join(other_models)}: "
        f"name that model, or run  {command} --model {shlex.quote(model)}"
    )
