"""The catalog of an index: each image's record and its row of the vectors file, in SQLite.

Paths are relative to the folder, with "/" between their parts, stored as the bytes the file
system has. A change is one transaction: after a kill at any moment the catalog holds the last
committed state.
"""

import dataclasses
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings
from clipkit.search.filters import IndexFilter
from clipkit.search.store.local.rows import (
    COLUMNS,
    drop_removed,
    encode_text,
    put_aside,
    put_image,
    put_skipped,
)
from clipkit.search.store.local.schema import (
    NUM_IMAGES,
    damaged_library,
    library_errors,
    mark_crops,
    open_catalog_file,
)
from clipkit.search.store.local.where import EVERY_IMAGE, matches_glob_sql, where_clause
from clipkit.search.store.records import CatalogMeta, ImageRow, IndexedFile, SkippedFile

_ROWS_A_QUESTION = 500  # SQLite allows 999 parameters in its oldest versions in use
_STATE = "path, size, mtime_ns, row, is_settled AND digest IS NOT NULL"  # as IndexedFile has it


class Catalog(AbstractContextManager["Catalog"]):
    """One open catalog.

    Open it with `Catalog.open`; close it, or use it in a ``with`` block.

    Args:
        connection: In autocommit mode; owned by the catalog from now on.
        path: The SQLite file.
        folder: The image folder, for messages.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, folder: Path) -> None:
        self._connection = connection
        self._connection.create_function("matches_glob", 2, matches_glob_sql, deterministic=True)
        self._path = path
        self._folder = folder

    @classmethod
    def open(cls, path: Path, folder: Path, *, create: bool = False) -> "Catalog | None":
        """Return the catalog, brought to the current schema.

        Args:
            path: The SQLite file.
            folder: The image folder, for messages.
            create: Whether to make a new catalog if there is none.

        Returns:
            The catalog; None if there is none yet and `create` is False.

        Raises:
            LibraryError: If the file is damaged, not clipkit's, newer than this clipkit or
                cannot be opened.
        """
        if not create:
            with library_errors(path, folder):
                if not (path.is_file() and path.stat().st_size):
                    return None
        return cls(open_catalog_file(path, folder, create=create), path, folder)

    def meta(self) -> CatalogMeta | None:
        """Return the metadata of the index.

        Returns:
            The metadata; None before the first commit.

        Raises:
            LibraryError: If the entry is damaged.
        """
        with self._errors():
            found = dict(self._connection.execute("SELECT key, value FROM meta"))
        names = {field.name for field in dataclasses.fields(CatalogMeta)}
        stored = {key: value for key, value in found.items() if key in names}
        if not stored:
            return None
        try:
            values = {key: json.loads(value) for key, value in stored.items()}
            tuples = ("exclude", "mounts", "unlisted")
            lists = {name: tuple(values.get(name, ())) for name in tuples}
            return CatalogMeta(**{**values, **lists})
        except (TypeError, ValueError) as error:
            raise damaged_library(self._folder, f"{self._path}: {error}") from error

    def damage(self) -> list[str]:
        """Return what SQLite finds damaged in the file, reading all of it.

        Returns:
            Its lines; none if the file is whole.

        Raises:
            LibraryError: If it is damaged so much that it cannot be looked through.
        """
        with self._errors():
            found = self._connection.execute("PRAGMA integrity_check")
            return [line for (line,) in found if line != "ok"]

    def images(self, prefix: str = "") -> dict[str, IndexedFile]:
        """Return the indexed images by path, those under `prefix` ("" or "folder/") only.

        A row without a digest is of the first schema: its file must be read again, so it does not
        count as settled.
        """
        where, bounds = where_clause(prefix)
        return self._states(f"images{where}", bounds)

    def missing(self, prefix: str = "") -> dict[str, IndexedFile]:
        """Return, as `images` does, the images whose files are expected to be back."""
        where, bounds = where_clause(prefix)
        condition = f"{where} AND" if where else " WHERE"
        return self._states(f"absent{condition} NOT is_removed", bounds)

    def skipped(self, prefix: str = "") -> dict[str, SkippedFile]:
        """Return the unreadable files by path, those under `prefix` only."""
        where, bounds = where_clause(prefix)
        sql = f"SELECT path, size, mtime_ns, reason, is_settled FROM skipped{where}"
        with self._errors():
            found = self._connection.execute(sql, bounds)
            return {row[0]: SkippedFile._make((*row[:-1], bool(row[-1]))) for row in found}

    def count(self, prefix: str = "", accepted: IndexFilter = EVERY_IMAGE) -> int:
        """Return how many images under `prefix` pass a filter, missing ones not counted."""
        where, values = where_clause(prefix, accepted)
        sql = f"SELECT count(*) FROM images{where}"
        if not where:
            sql, values = "SELECT value FROM meta WHERE key = ?", (NUM_IMAGES,)
        with self._errors():
            found = self._connection.execute(sql, values).fetchone()
        try:
            return int(found[0])
        except (TypeError, ValueError) as error:  # the key is missing, or no number
            raise damaged_library(self._folder, f"{self._path}: {error}") from error

    def absent_rows(self) -> NDArray[np.int64]:
        """Return the rows kept for files that are not there, ascending, shape (K,)."""
        with self._errors():
            found = self._connection.execute("SELECT row FROM absent ORDER BY row")
            return np.fromiter((row for (row,) in found), dtype=np.int64)

    def rows(self, prefix: str = "", accepted: IndexFilter = EVERY_IMAGE) -> NDArray[np.int64]:
        """Return the live rows under `prefix` that pass a filter, ascending, shape (K,)."""
        where, values = where_clause(prefix, accepted)
        with self._errors():
            found = self._connection.execute(f"SELECT row FROM images{where}", values)
            return np.sort(np.fromiter((row for (row,) in found), dtype=np.int64))

    def sample(self, size: int) -> NDArray[np.int64]:
        """Return the rows of a random sample of the images, no two of equal content.

        The sample is of the smallest digests, so it does not depend on the library's history,
        and it is read from an SQL index without reading the other rows.
        """
        sql = (
            "SELECT min(row) FROM images WHERE digest > x'' GROUP BY digest ORDER BY digest LIMIT ?"
        )
        with self._errors():
            found = self._connection.execute(sql, (size,))
            return np.fromiter((row for (row,) in found), dtype=np.int64)

    def paths(self, rows: Iterable[int]) -> dict[int, str]:
        """Return the path of each of these rows; dead rows are missing from the answer."""
        return dict(self._select("row, path", rows))

    def entries(self, rows: Iterable[int]) -> dict[int, ImageRow]:
        """Return the records of these rows; dead rows are missing."""
        return {image.row: image for image in map(_image_row, self._select(COLUMNS, rows))}

    def count_rows(self, rows: Iterable[int]) -> int:
        """Return how many of these rows are those of indexed images, each counted once."""
        return sum(number for (number,) in self._select("count(*)", rows))

    def find(self, path: str) -> ImageRow | None:
        """Return the entry of one image, None if it is not indexed."""
        return self._find("images WHERE path = CAST(? AS TEXT)", encode_text(path))

    def find_alike(self, size: int, mtime_ns: int) -> list[str]:
        """Return the paths of images whose files have this size and time of change."""
        with self._errors():
            sql = "SELECT path FROM images WHERE size = ? AND mtime_ns = ?"
            return [path for (path,) in self._connection.execute(sql, (size, mtime_ns))]

    def find_missing(self, path: str) -> ImageRow | None:
        """Return the entry of an image whose file is expected to be back, None if it is not."""
        return self._find(
            "absent WHERE path = CAST(? AS TEXT) AND NOT is_removed", encode_text(path)
        )

    def find_content(self, digest: bytes) -> ImageRow | None:
        """Return the entry of an image with this content, None if there is none.

        Its file need not exist. The path is "" if its row may be reused, because its image was
        removed.
        """
        found = self._find("images WHERE digest = ? ORDER BY row LIMIT 1", digest)
        if found is not None:
            return found
        columns = COLUMNS.replace("path", "CASE WHEN is_removed THEN '' ELSE path END")
        condition = "absent WHERE digest = ? ORDER BY is_removed DESC, row LIMIT 1"
        return self._find(condition, digest, columns)

    def contents(self, prefix: str = "", accepted: IndexFilter = EVERY_IMAGE) -> Iterator[ImageRow]:
        """Yield the images under `prefix` that pass a filter, in the order of the paths."""
        where, values = where_clause(prefix, accepted)
        sql = f"SELECT {COLUMNS} FROM images{where} ORDER BY path"
        with self._errors():
            yield from map(_image_row, self._connection.execute(sql, values))

    def uncropped(self, prefix: str, first_cropped: int) -> list[ImageRow]:
        """Return the images under `prefix` with a row before that one, in the order of paths."""
        where, values = where_clause(prefix)
        condition = f"{where} AND" if where else " WHERE"
        sql = f"SELECT {COLUMNS} FROM images{condition} row < ? ORDER BY path"
        with self._errors():
            found = self._connection.execute(sql, (*values, first_cropped))
            return [_image_row(row) for row in found]

    def background(self) -> dict[str, NDArray[np.float32]]:
        """Return the embeddings of the words that queries are weighed against, shape (D,) each."""
        with self._errors():
            found = self._connection.execute("SELECT name, embedding FROM background")
            return {name: np.frombuffer(blob, dtype="<f4") for name, blob in found}

    def write_background(self, names: Sequence[str], embeddings: Embeddings) -> None:
        """Commit the words that queries are weighed against, in place of any other.

        Args:
            names: B of them.
            embeddings: Shape (B, D).
        """
        rows = np.ascontiguousarray(embeddings, dtype="<f4")
        pairs = [(name, row.tobytes()) for name, row in zip(names, rows, strict=True)]
        with self._transaction("BEGIN IMMEDIATE"):
            self._connection.execute("DELETE FROM background")
            self._connection.executemany("INSERT INTO background VALUES (?, ?)", pairs)

    def write(
        self,
        meta: CatalogMeta,
        *,
        images: Sequence[ImageRow] = (),
        skipped: Sequence[SkippedFile] = (),
        removed: Iterable[str] = (),
        missing: Iterable[str] = (),
    ) -> None:
        """Commit a set of changes as one: all of it, or nothing.

        A row that loses its image stays known by its digest, until `forget_removed`.

        Args:
            meta: Replaces the metadata of the index.
            images: New images and images with a new vector. One that takes the row of
                another path takes it away from there.
            skipped: Files found unreadable; they are no longer indexed.
            removed: Paths to forget, indexed, missing or unreadable.
            missing: Paths of indexed images whose files are expected to be back.

        Raises:
            LibraryError: If the catalog cannot be written.
        """
        with self._transaction("BEGIN IMMEDIATE"):
            for path in missing:
                put_aside(self._connection, path, is_removed=False)
            for path in removed:
                put_aside(self._connection, path, is_removed=True)
            for image in images:
                put_image(self._connection, image)
            for file in skipped:
                put_skipped(self._connection, file)
            self._write_meta(meta)
            # An image that is replaced by its row fires no trigger, so that those miscount it.
            self._connection.execute(
                "INSERT OR REPLACE INTO meta SELECT ?, count(*) FROM images", [NUM_IMAGES]
            )

    def forget_removed(self, *, max_seconds: int, min_rows: int) -> None:
        """Free rows whose images were removed: old ones, and those above a number.

        Args:
            max_seconds: How long a row is kept.
            min_rows: How many may be kept; as many as there are images, if that is more.
        """
        with self._errors():
            found = self._connection.execute("SELECT count(*) FROM absent WHERE is_removed")
            num_removed = int(found.fetchone()[0])
        if num_removed:
            with self._transaction("BEGIN IMMEDIATE"):
                drop_removed(self._connection, max_seconds, min_rows)

    def renumber(self, meta: CatalogMeta, rows: NDArray[np.int64]) -> None:
        """Commit that the vector of ``rows[i]`` is now row i of another file.

        Args:
            meta: Names the other file.
            rows: Every row in use, of images and of absent ones, ascending.

        Raises:
            LibraryError: If the catalog cannot be written.
        """
        # Ascending, no row moves up: a row's new place is always free when it gets there.
        moves = [(new, int(old)) for new, old in enumerate(rows) if new != old]
        with self._transaction("BEGIN IMMEDIATE"):
            self._connection.executemany("UPDATE images SET row = ? WHERE row = ?", moves)
            self._connection.executemany("UPDATE absent SET row = ? WHERE row = ?", moves)
            self._write_meta(meta)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Hold one committed state for all reads inside the block."""
        with self._transaction("BEGIN"):
            yield

    def close(self) -> None:
        """Close the file; committed work stays."""
        self._connection.close()

    def __exit__(self, *_: object) -> None:
        """Close the file, however the block ends."""
        self.close()

    def _errors(self) -> AbstractContextManager[None]:
        return library_errors(self._path, self._folder)

    def _states(self, where: str, bounds: Sequence[str | bytes | int]) -> dict[str, IndexedFile]:
        with self._errors():
            found = self._connection.execute(f"SELECT {_STATE} FROM {where}", bounds)
            return {row[0]: IndexedFile._make((*row[:-1], bool(row[-1]))) for row in found}

    def _find(self, where: str, value: bytes, columns: str = COLUMNS) -> ImageRow | None:
        with self._errors():
            sql = f"SELECT {columns} FROM {where}"
            found = self._connection.execute(sql, (value,)).fetchone()
        return _image_row(found) if found else None

    def _select(self, columns: str, rows: Iterable[int]) -> Iterator[tuple[Any, ...]]:
        """Yield columns of chosen rows, in any order."""
        wanted = [int(row) for row in rows]
        with self._errors():
            for start in range(0, len(wanted), _ROWS_A_QUESTION):
                part = wanted[start : start + _ROWS_A_QUESTION]
                marks = ",".join("?" * len(part))
                sql = f"SELECT {columns} FROM images WHERE row IN ({marks})"
                yield from self._connection.execute(sql, part)

    def _write_meta(self, meta: CatalogMeta) -> None:
        """Store each field under its name, inside a transaction."""
        values = [(key, json.dumps(value)) for key, value in dataclasses.asdict(meta).items()]
        sql = "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)"
        self._connection.executemany(sql, values)
        mark_crops(self._connection, has_crops=meta.crops > 1)

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        """Commit what happens in the block; undo it if the block is left by an exception."""
        with self._errors():
            self._connection.execute(begin)
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


def _image_row(found: tuple[Any, ...]) -> ImageRow:
    image = ImageRow._make(found)
    return image._replace(is_settled=bool(image.is_settled))
