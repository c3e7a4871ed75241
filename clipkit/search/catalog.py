"""The catalog of a library: which picture lies in which row, in one SQLite file.

Paths are relative to the folder, with "/" between their parts, stored as the bytes the file
system has. A change is one transaction: after a kill at any moment the catalog holds the last
committed state.
"""

import dataclasses
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipkit.search.closing import Closing
from clipkit.search.schema import PATH_ERRORS, damaged_library, library_errors, open_catalog_file

_PATHS_A_QUESTION = 500  # SQLite allows 999 parameters in its oldest versions in use


class ImageRow(NamedTuple):
    """One indexed picture."""

    path: str
    size: int  # bytes
    mtime_ns: int
    row: int  # place in the vectors file


class SkippedFile(NamedTuple):
    """One file that could not be read as a picture when it had this size and time."""

    path: str
    size: int  # bytes
    mtime_ns: int
    reason: str


@dataclass(frozen=True)
class CatalogMeta:
    """What holds for the whole library."""

    folder: str  # resolved, for people: paths are relative to wherever it is now
    space_id: str  # identity of the space the vectors are in
    embed_dim: int  # D
    model: str  # the name it was asked for by; this and the next two are for people
    engine: str
    precision: str
    clipkit_version: str  # the last that wrote here
    vectors_file: str  # name of the file in use, in the library's directory
    num_rows: int = 0  # rows of that file in use, dead ones included
    device: int = 0  # the disk the folder was on, as the system numbers them
    exclude: tuple[str, ...] = ()  # what the folder's owner asked to leave out
    include_hidden: bool = False


class Catalog(Closing):
    """One open catalog.

    Open it with `Catalog.open`; close it, or use it in a ``with`` block.

    Args:
        connection: In autocommit mode; owned by the catalog from now on.
        path: The SQLite file.
        folder: The picture folder, for messages.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, folder: Path) -> None:
        self._connection = connection
        self._path = path
        self._folder = folder

    @classmethod
    def open(cls, path: Path, folder: Path, *, create: bool = False) -> "Catalog | None":
        """Return the catalog, brought to the current schema.

        Args:
            path: The SQLite file.
            folder: The picture folder, for messages.
            create: Whether to make a new catalog if there is none.

        Returns:
            The catalog; None if there is none yet and `create` is not asked for.

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
        """Return what holds for the whole library.

        Returns:
            It; None before the first commit.

        Raises:
            LibraryError: If the entry is damaged.
        """
        with library_errors(self._path, self._folder):
            stored = dict(self._connection.execute("SELECT key, value FROM meta"))
        if not stored:
            return None
        names = {field.name for field in dataclasses.fields(CatalogMeta)}
        try:
            values = {key: json.loads(value) for key, value in stored.items() if key in names}
            return CatalogMeta(**{**values, "exclude": tuple(values.get("exclude", ()))})
        except (TypeError, ValueError) as error:
            raise damaged_library(self._folder, f"{self._path}: {error}") from error

    def images(self, prefix: str = "") -> dict[str, ImageRow]:
        """Return the indexed pictures by path, those under `prefix` ("" or "folder/") only."""
        where, bounds = _under(prefix)
        sql = f"SELECT path, size, mtime_ns, row FROM images{where}"
        with library_errors(self._path, self._folder):
            return {row[0]: ImageRow._make(row) for row in self._connection.execute(sql, bounds)}

    def skipped(self, prefix: str = "") -> dict[str, SkippedFile]:
        """Return the unreadable files by path, those under `prefix` only."""
        where, bounds = _under(prefix)
        sql = f"SELECT path, size, mtime_ns, reason FROM skipped{where}"
        with library_errors(self._path, self._folder):
            return {row[0]: SkippedFile._make(row) for row in self._connection.execute(sql, bounds)}

    def count(self, prefix: str = "") -> int:
        """Return how many pictures are indexed under `prefix`."""
        where, bounds = _under(prefix)
        with library_errors(self._path, self._folder):
            found = self._connection.execute(f"SELECT count(*) FROM images{where}", bounds)
            return int(found.fetchone()[0])

    def rows(self, prefix: str = "") -> NDArray[np.int64]:
        """Return the live rows under `prefix`, ascending, shape (K,)."""
        where, bounds = _under(prefix)
        with library_errors(self._path, self._folder):
            found = self._connection.execute(f"SELECT row FROM images{where}", bounds)
            return np.sort(np.fromiter((row for (row,) in found), dtype=np.int64))

    def paths(self, rows: Iterable[int]) -> dict[int, str]:
        """Return the path of each of these rows; dead rows are missing from the answer."""
        wanted = [int(row) for row in rows]
        paths: dict[int, str] = {}
        with library_errors(self._path, self._folder):
            for start in range(0, len(wanted), _PATHS_A_QUESTION):
                part = wanted[start : start + _PATHS_A_QUESTION]
                marks = ",".join("?" * len(part))
                sql = f"SELECT row, path FROM images WHERE row IN ({marks})"
                paths.update(self._connection.execute(sql, part))
        return paths

    def find(self, path: str) -> ImageRow | None:
        """Return the entry of one picture, None if it is not indexed."""
        sql = "SELECT path, size, mtime_ns, row FROM images WHERE path = CAST(? AS TEXT)"
        with library_errors(self._path, self._folder):
            found = self._connection.execute(sql, (_encode(path),)).fetchone()
        return ImageRow(*found) if found else None

    def write(
        self,
        meta: CatalogMeta,
        *,
        images: Sequence[ImageRow] = (),
        skipped: Sequence[SkippedFile] = (),
        removed: Iterable[str] = (),
    ) -> None:
        """Commit a set of changes as one: all of it, or nothing.

        Args:
            meta: Replaces what held for the whole library.
            images: New pictures and pictures with a new vector.
            skipped: Files found unreadable; they are no longer indexed.
            removed: Paths to forget, indexed or unreadable.

        Raises:
            LibraryError: If the catalog cannot be written.
        """
        execute = self._connection.execute
        with self._transaction("BEGIN IMMEDIATE"):
            for path in removed:
                execute("DELETE FROM images WHERE path = CAST(? AS TEXT)", (_encode(path),))
                execute("DELETE FROM skipped WHERE path = CAST(? AS TEXT)", (_encode(path),))
            for image in images:
                execute("DELETE FROM skipped WHERE path = CAST(? AS TEXT)", (_encode(image.path),))
                execute(
                    "INSERT OR REPLACE INTO images (path, size, mtime_ns, row)"
                    " VALUES (CAST(? AS TEXT), ?, ?, ?)",
                    (_encode(image.path), *image[1:]),
                )
            for file in skipped:
                execute("DELETE FROM images WHERE path = CAST(? AS TEXT)", (_encode(file.path),))
                execute(
                    "INSERT OR REPLACE INTO skipped (path, size, mtime_ns, reason)"
                    " VALUES (CAST(? AS TEXT), ?, ?, CAST(? AS TEXT))",
                    (_encode(file.path), file.size, file.mtime_ns, _encode(file.reason)),
                )
            self._write_meta(meta)

    def renumber(self, meta: CatalogMeta, rows: NDArray[np.int64]) -> None:
        """Commit that the picture in ``rows[i]`` now lies in row i of another file.

        Args:
            meta: Names the other file.
            rows: Every live row, ascending.

        Raises:
            LibraryError: If the catalog cannot be written.
        """
        # Ascending, no row moves up: a row's new place is always free when it gets there.
        moves = ((new, int(old)) for new, old in enumerate(rows) if new != old)
        with self._transaction("BEGIN IMMEDIATE"):
            self._connection.executemany("UPDATE images SET row = ? WHERE row = ?", moves)
            self._write_meta(meta)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Hold one committed state for every question asked inside the block."""
        with self._transaction("BEGIN"):
            yield

    def close(self) -> None:
        """Close the file; committed work stays."""
        self._connection.close()

    def _write_meta(self, meta: CatalogMeta) -> None:
        """Store each field under its name, inside a transaction."""
        values = [(key, json.dumps(value)) for key, value in dataclasses.asdict(meta).items()]
        sql = "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)"
        self._connection.executemany(sql, values)

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        """Commit what happens in the block; undo it if the block is left by an exception."""
        with library_errors(self._path, self._folder):
            self._connection.execute(begin)
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


def _encode(text: str) -> bytes:
    """Return the bytes SQLite keeps; undecodable file names keep the bytes they have on disk."""
    return text.encode("utf-8", PATH_ERRORS)


def _under(prefix: str) -> tuple[str, tuple[bytes, ...]]:
    """Return the WHERE clause, with its values, for paths that start with "" or "folder/"."""
    if not prefix:
        return "", ()
    assert prefix.endswith("/"), prefix
    first, behind = _encode(prefix), _encode(prefix[:-1]) + b"0"  # "0" comes right after "/"
    return " WHERE path >= CAST(? AS TEXT) AND path < CAST(? AS TEXT)", (first, behind)
