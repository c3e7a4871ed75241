"""One writer at a time: a lock that ends with the process that holds it, however it ends."""

import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Self

from clipkit.errors import LibraryBusyError, LibraryError


class WriterLock:
    """The right to write to a library, held inside a ``with`` block.

    The lock is SQLite's own exclusive lock on an empty file: it works on every system Python
    runs on, and the system drops it when the process dies, so no stale lock can be left.

    Args:
        path: The lock file; its directory must exist.
        folder: The image folder, for the message.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self._path = path
        self._folder = folder
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        """Take the lock at once, or say that somebody else has it.

        Returns:
            The lock.

        Raises:
            LibraryBusyError: If another process, or another sync in this one, holds the lock.
            LibraryError: If the lock file cannot be written.
        """
        connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(
                self._path, timeout=0, isolation_level=None, check_same_thread=False
            )
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                raise LibraryBusyError(
                    f"another process is indexing {self._folder}: wait until it is done, or "
                    "search what it has indexed so far with --no-indexing"
                ) from error
            raise LibraryError(
                f"the index of {self._folder} cannot be written at {self._path.parent}: {error}; "
                "set CLIPKIT_HOME to a directory that can be written"
            ) from error
        self._connection = connection
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let the next writer in."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
