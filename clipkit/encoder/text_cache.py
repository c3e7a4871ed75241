"""Caches of text embeddings: a query asked before needs no text encoder.

On disk it is one SQLite file for all models and processes. Keys are hashes: no text lies on the disk. A cache
only saves time, so whatever is wrong with it, from a full disk to a damaged file, makes it know
nothing and keep nothing, and is no error.

Shapes: N texts, D dimensions of a space.
"""

import contextlib
import os
import sqlite3
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit.paths import cache_directory

TEXT_CACHE_BYTES = 16_000_000  # some 7 000 embeddings of 512 dimensions
MEMORY_ROWS = 8192  # 16 MB at 512 dimensions

_PATIENCE_SECONDS = (
    0.02  # to wait for another process that writes; embedding a text takes about as long
)
_PAGE_BYTES = 16_384  # a row must not take a page of its own: 512 dimensions are 2 KB
_ROOM = (
    0.75  # of the bytes: when it is fuller, half of the rows are dropped; the rest is for one batch
)
_FORMAT = "clipkit text embedding 1"


class TextCache:
    """The embeddings of texts that were embedded before, by any process.

    Nothing is open between two calls, so threads and forked processes may share one.

    Args:
        path: The file; it and its directory are made when something is kept for the first time.
        max_bytes: How large the file may become. The least recently used rows are dropped.
        today: Returns the number of the day; uses are told apart by days.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int = TEXT_CACHE_BYTES,
        today: Callable[[], int] = lambda: int(time.time() // 86_400),
    ) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._today = today

    def get(
        self, space_id: str, numerics: str, texts: Iterable[str]
    ) -> dict[str, NDArray[np.float32]]:
        """Return the embeddings of those texts that are known.

        Args:
            space_id: The space.
            numerics: What else the last digits depend on, such as engine and precision.
            texts: N texts.

        Returns:
            By text: float32, shape (D,), bit for bit as they were kept.
        """
        keys = _keys(space_id, numerics, texts)
        known: dict[str, NDArray[np.float32]] = {}
        today, aged = self._today(), []
        with self._forgiving(), self._connection() as connection, connection:
            connection.execute("BEGIN")  # one lock for all of them
            for text, key in keys.items():
                for value, used_on in connection.execute(_FIND, (key,)):
                    embedding = _unpack(key, value)
                    if embedding is not None:
                        known[text] = embedding
                        if used_on < today:
                            aged.append((today, key))
        if aged:  # at most once a day and text
            with self._forgiving(), self._connection() as connection, connection:
                connection.executemany(_TOUCH, aged)
        return known

    def put(
        self, space_id: str, numerics: str, embeddings: Mapping[str, NDArray[np.float32]]
    ) -> None:
        """Keep the embeddings of texts, all of them or none.

        Args:
            space_id: The space.
            numerics: As for :meth:`get`.
            embeddings: By text: float32, shape (D,).
        """
        today = self._today()
        keys = _keys(space_id, numerics, embeddings)
        rows = ((key, today, _pack(key, embeddings[text])) for text, key in keys.items())
        with contextlib.suppress(OSError):
            if self._path.stat().st_size > self._max_bytes:
                self._path.unlink()  # grown when it was allowed more: SQLite makes no file smaller
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Queries are private: other users of the machine may not read them.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        with self._forgiving(), self._connection() as connection, connection:
            connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            connection.execute(f"PRAGMA max_page_count = {self._max_bytes // _PAGE_BYTES}")
            connection.execute(_CREATE)
            if _used_bytes(connection) > _ROOM * self._max_bytes:
                connection.execute(_FORGET)
            connection.executemany(_KEEP, rows)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        # mode=rw: never made here, and only read where that is all that is allowed.
        uri = f"{self._path.absolute().as_uri()}?mode=rw"
        with contextlib.closing(
            sqlite3.connect(uri, uri=True, timeout=_PATIENCE_SECONDS)
        ) as connection:
            # A crash of the whole machine may spoil rows: each has a checksum.
            connection.execute("PRAGMA synchronous = OFF")
            yield connection

    @contextlib.contextmanager
    def _forgiving(self) -> Iterator[None]:
        """Let errors of the file end the block and nothing else; delete a damaged file."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                with contextlib.suppress(OSError):
                    self._path.unlink()  # the next one begins anew


class MemoryTextCache:
    """The embeddings of texts that were embedded before, in this process alone: no disk sees them.

    Threads may share one.

    Args:
        max_rows: How many are kept. Those that were used longest ago are dropped.
    """

    def __init__(self, max_rows: int = MEMORY_ROWS) -> None:
        self._max_rows = max_rows
        self._rows: OrderedDict[tuple[str, str, str], NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    def get(
        self, space_id: str, numerics: str, texts: Iterable[str]
    ) -> dict[str, NDArray[np.float32]]:
        """Return the embeddings of those texts that are known, as :meth:`TextCache.get` does."""
        known = {}
        with self._lock:
            for text in texts:
                key = (space_id, numerics, text)
                if key in self._rows:
                    self._rows.move_to_end(key)
                    known[text] = self._rows[key].copy()
        return known

    def put(
        self, space_id: str, numerics: str, embeddings: Mapping[str, NDArray[np.float32]]
    ) -> None:
        """Keep the embeddings of texts, as :meth:`TextCache.put` does."""
        with self._lock:
            for text, row in embeddings.items():
                key = (space_id, numerics, text)
                self._rows[key] = row.copy()
                self._rows.move_to_end(key)
            while len(self._rows) > self._max_rows:
                self._rows.popitem(last=False)


def user_text_cache() -> TextCache | None:
    """Return the cache in the user's cache directory.

    Returns:
        The cache; None if ``$CLIPKIT_NO_CACHE`` is set, to anything but 0.
    """
    if os.environ.get("CLIPKIT_NO_CACHE", "0") not in ("", "0"):
        return None
    return TextCache(cache_directory() / "texts.sqlite")


_CREATE = """
    CREATE TABLE IF NOT EXISTS texts (
        key BLOB PRIMARY KEY, used_on INTEGER NOT NULL, value BLOB NOT NULL
    )
"""
_FIND = "SELECT value, used_on FROM texts WHERE key = ?"
_TOUCH = "UPDATE texts SET used_on = ? WHERE key = ?"
_KEEP = "INSERT OR REPLACE INTO texts VALUES (?, ?, ?)"
_FORGET = """
    DELETE FROM texts WHERE rowid IN (
        SELECT rowid FROM texts ORDER BY used_on, rowid LIMIT (SELECT count(*) FROM texts) / 2
    )
"""


def _used_bytes(connection: sqlite3.Connection) -> int:
    """Return how much of the file holds rows; the rest is filled before it grows."""
    ((num_pages,),) = connection.execute("PRAGMA page_count")
    ((num_free,),) = connection.execute("PRAGMA freelist_count")
    return int(num_pages - num_free) * _PAGE_BYTES


def _keys(space_id: str, numerics: str, texts: Iterable[str]) -> dict[str, bytes]:
    """Return the key of each text: a hash of its parts, with their lengths between them."""
    from hashlib import sha256  # only here: it takes 3 ms

    base = sha256()
    for part in (_FORMAT, space_id, numerics):
        content = part.encode("utf-8", "surrogatepass")
        base.update(len(content).to_bytes(8, "little") + content)
    keys = {}
    for text in texts:
        whole = base.copy()
        whole.update(text.encode("utf-8", "surrogatepass"))
        keys[text] = whole.digest()
    return keys


def _pack(key: bytes, embedding: NDArray[np.float32]) -> bytes:
    content = np.ascontiguousarray(embedding, dtype="<f4").tobytes()
    return zlib.crc32(key + content).to_bytes(4, "little") + content


def _unpack(key: bytes, value: bytes) -> NDArray[np.float32] | None:
    """Return an embedding, None if its bytes are not those that were kept."""
    content = value[4:]
    if value[:4] != zlib.crc32(key + content).to_bytes(4, "little"):
        return None
    return np.frombuffer(content, dtype="<f4").astype(np.float32)
