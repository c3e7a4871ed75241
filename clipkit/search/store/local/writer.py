"""Batch writes to the local store, one writer at a time; vectors first, then the catalog."""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings
from clipkit.errors import LibraryBusyError, LibraryError
from clipkit.files import exclusive_lock
from clipkit.paths import data_directory
from clipkit.search.store.local.catalog import Catalog
from clipkit.search.store.local.crop_file import crop_rows, open_crops, used_names
from clipkit.search.store.local.vectors import (
    VectorReader,
    VectorWriter,
    copy_rows,
    crops_name,
    is_of_old_precision,
    next_vectors_name,
    vectors_files,
)
from clipkit.search.store.records import CatalogMeta, ImageRow, SkippedFile

_MAX_DEAD_SHARE = 0.25  # of the rows in the file; above it those in use are copied
# Embeddings of removed images stay as long as file managers keep deleted files; a thousand of them
# take a megabyte, and more only where they at most double the file.
_REMOVED_SECONDS = 30 * 24 * 3600
_REMOVED_ROWS = 1000


class LibraryWriter:
    """Collects changes and commits them; used in a ``with`` block, under the writer's lock.

    The order of a commit makes a kill harmless: the vectors are on the disk before the
    catalog says that they exist.

    Args:
        catalog: Open for writing.
        location: The library's directory.
        meta: The metadata of the index from the first commit on.

    Raises:
        LibraryError: If the vectors file cannot be opened.
    """

    def __init__(self, catalog: Catalog, location: Path, meta: CatalogMeta) -> None:
        self._catalog = catalog
        self._location = location
        self._meta = meta
        path = location / meta.vectors_file
        self._num_crops = meta.crops - 1
        self._crops: VectorWriter | None = None
        with _disk_errors(location):
            self._vectors = VectorWriter(path, meta.embed_dim, meta.num_rows)
            if self._num_crops:
                self._crops = VectorWriter(
                    location / crops_name(meta.vectors_file),
                    meta.embed_dim,
                    meta.num_cropped * self._num_crops,
                )
        self._images: list[ImageRow] = []
        self._contents: dict[bytes, ImageRow] = {}  # of those that are not committed yet
        self._skipped: list[SkippedFile] = []
        self._removed: list[str] = []
        self._missing: list[str] = []

    def find_content(self, digest: bytes) -> ImageRow | None:
        """Return an image with this content, committed or not, None if there is none.

        As of `Catalog.find_content`, its path is "" if its row may be taken.
        """
        return self._contents.get(digest) or self._catalog.find_content(digest)

    def has_crops(self, row: int) -> bool:
        """Return whether the image of a row lacks no crops: also if the index has none."""
        return self._crops is None or row >= self._meta.first_cropped

    def add(
        self, images: Iterable[ImageRow], embeddings: Embeddings, crops: Embeddings | None = None
    ) -> None:
        """Add images, or give images their new vectors.

        Args:
            images: K images; their rows are ignored.
            embeddings: Their embeddings, shape (K, D).
            crops: Those of C crops of each, shape (K, C, D); None in an index without.

        Raises:
            LibraryError: If the vectors cannot be written.
        """
        with _disk_errors(self._location):
            if self._crops is not None:
                assert crops is not None and crops.shape[:2] == (len(embeddings), self._num_crops)
                self._crops.append(crops.reshape(-1, crops.shape[2]))
            rows = self._vectors.append(embeddings)
        for image, row in zip(images, rows, strict=True):
            self.keep(image._replace(row=row))

    def keep(self, image: ImageRow) -> None:
        """Add an image whose vector is in its row already, or update its record."""
        self._images.append(image)
        if image.digest is not None:
            self._contents[image.digest] = image

    def copy(self, image: ImageRow, row: int, crops: Embeddings | None = None) -> None:
        """Add an image with the vector of another one's row, or with that of its own and crops.

        Args:
            image: The image; its own row is ignored.
            row: A row that was committed or added before.
            crops: Those of C crops, shape (C, D); None: those of the row, if the index has crops.

        Raises:
            LibraryError: If the vector cannot be written.
        """
        with _disk_errors(self._location):
            embedding = self._vectors.take(row)
            if crops is None and self._crops is not None:
                first = (row - self._meta.first_cropped) * self._num_crops
                crops = self._crops.take(first, self._num_crops)
        self.add([image], embedding, None if crops is None else crops[None])

    def skip(self, file: SkippedFile) -> None:
        """Record a file that cannot be read as an image."""
        self._skipped.append(file)

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files that are gone."""
        self._removed.extend(paths)

    def miss(self, paths: Iterable[str]) -> None:
        """Keep indexed images whose files are missing, until they are back."""
        self._missing.extend(paths)

    def commit(self) -> None:
        """Make everything collected so far durable, as one change.

        Raises:
            LibraryError: If it cannot be written; then nothing of this commit is kept.
        """
        images, skipped = self._images, self._skipped
        removed, missing = self._removed, self._missing
        meta = dataclasses.replace(self._meta, num_rows=self._vectors.num_rows)
        if not (images or skipped or removed or missing or self._catalog.meta() != meta):
            return
        self._images, self._skipped, self._contents = [], [], {}
        self._removed, self._missing = [], []
        if images:
            with _disk_errors(self._location):
                self._vectors.flush()
                if self._crops is not None:
                    self._crops.flush()
        self._catalog.write(meta, images=images, skipped=skipped, removed=removed, missing=missing)
        self._meta = meta

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Commit what is collected, also on the way out of Ctrl-C, and close the file."""
        try:
            self.commit()
        finally:
            self._vectors.close()
            if self._crops is not None:
                self._crops.close()


@contextlib.contextmanager
def writer_lock(path: Path, folder: Path) -> Iterator[None]:
    """Hold the write lock of a library for as long as the block runs.

    Args:
        path: The lock file; its directory must exist.
        folder: The image folder, for the message.

    Yields:
        Nothing.

    Raises:
        LibraryBusyError: If another process, or another sync in this one, holds the lock.
        LibraryError: If the lock file cannot be written.
    """
    held = LibraryBusyError(
        f"another process is indexing {folder}: wait until it is done, or search what it has "
        "indexed so far with --no-indexing"
    )
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(exclusive_lock(path, held))
        except OSError as error:
            raise LibraryError(
                f"the index of {folder} cannot be written at {path.parent}: "
                f"{error.__cause__ or error}{home_hint(path)}"
            ) from error
        yield


def compact(catalog: Catalog, location: Path, folder: Path) -> None:
    """Copy the rows in use to a new file if many are dead, or all are of an old precision.

    In use are those of the indexed images, of missing ones, and for a while of removed ones.
    Files not in use are deleted.

    A reader that still has the old file open keeps reading it undisturbed.

    Args:
        catalog: Open for writing, under the writer's lock, with nothing left to commit.
        location: The library's directory.
        folder: The image folder, for messages.

    Raises:
        LibraryError: If a file is damaged or cannot be written.
    """
    meta = catalog.meta()
    if meta is None:
        return
    catalog.forget_removed(max_seconds=_REMOVED_SECONDS, min_rows=_REMOVED_ROWS)
    absent = catalog.absent_rows()
    num_dead = meta.num_rows - catalog.count() - len(absent)
    try:
        if num_dead > _MAX_DEAD_SHARE * meta.num_rows or is_of_old_precision(meta.vectors_file):
            rows = np.union1d(catalog.rows(), absent)
            with _disk_errors(location):
                copied = _copy_vectors(meta, rows, location, folder)
            catalog.renumber(copied, rows)
    finally:  # a copy that did not fit on the disk would keep it full
        _delete_unused(catalog, location)


def _copy_vectors(
    meta: CatalogMeta, rows: NDArray[np.int64], location: Path, folder: Path
) -> CatalogMeta:
    """Copy some rows, and the crops that they have, to new files; return the metadata of those."""
    name = next_vectors_name(meta.vectors_file)
    old = VectorReader(location / meta.vectors_file, meta.embed_dim, meta.num_rows, folder)
    copy_rows(old, rows, location / name, meta.embed_dim)
    first = 0
    if (crops := open_crops(location, meta, folder)) is not None:
        first = int(np.searchsorted(rows, meta.first_cropped))
        places = rows[first:] - meta.first_cropped
        numbers = crop_rows(places, crops.num_crops)
        copy_rows(crops.file, numbers, location / crops_name(name), meta.embed_dim)
    return dataclasses.replace(meta, vectors_file=name, num_rows=len(rows), first_cropped=first)


def _delete_unused(catalog: Catalog, location: Path) -> None:
    """Delete the files of vectors that an index is not made of."""
    if (meta := catalog.meta()) is None:
        return
    for path in vectors_files(location):
        if path.name not in used_names(meta):
            with contextlib.suppress(OSError):  # still mapped by a reader on Windows
                path.unlink()


@contextlib.contextmanager
def _disk_errors(location: Path) -> Iterator[None]:
    """Turn the errors of a full or failing disk into a LibraryError that says what is kept."""
    try:
        yield
    except OSError as error:
        raise LibraryError(
            f"the index at {location} cannot be written ({error.strerror or error}): what was "
            "committed is kept; mend the cause and run the same command again"
        ) from error


def home_hint(path: Path) -> str:
    """Return the hint for an index in the user's data directory, whose place can be chosen."""
    if path.is_relative_to(data_directory()):
        return "; set CLIPKIT_HOME to a directory that can be written"
    return ""
