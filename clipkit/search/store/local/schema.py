"""Opening a catalog file: its schema, migrations, and SQLite's errors as messages."""

import shlex
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from clipkit.errors import DamagedLibraryError, LibraryBusyError, LibraryError

NUM_IMAGES = "num_images"  # key in meta: how many rows the table images has
APPLICATION_ID = 0x636C6970  # "clip" in ASCII: how `file` and we tell our catalogs from others

# One entry a schema version, oldest first; its statements migrate from the version before.
# Entries are never edited once released: a change of schema is a new entry.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE images ("
        " row INTEGER PRIMARY KEY,"  # row of the vectors file
        " path TEXT NOT NULL UNIQUE,"
        " size INTEGER NOT NULL,"  # bytes
        " mtime_ns INTEGER NOT NULL)",
        "CREATE TABLE skipped ("  # unreadable: not decoded again until the file changes
        " path TEXT PRIMARY KEY,"
        " size INTEGER NOT NULL,"
        " mtime_ns INTEGER NOT NULL,"
        " reason TEXT NOT NULL) WITHOUT ROWID",
    ),
    (
        "ALTER TABLE images ADD COLUMN is_settled INTEGER NOT NULL DEFAULT 1",
        "ALTER TABLE images ADD COLUMN digest BLOB",  # of the file's bytes, 16 of its own
        "ALTER TABLE images ADD COLUMN width INTEGER",  # pixels
        "ALTER TABLE images ADD COLUMN height INTEGER",
        "ALTER TABLE images ADD COLUMN taken_at TEXT",  # ISO 8601, local time
        "ALTER TABLE images ADD COLUMN camera TEXT",
        "CREATE INDEX images_by_digest ON images (digest)",
        "ALTER TABLE skipped ADD COLUMN is_settled INTEGER NOT NULL DEFAULT 1",
        "CREATE TABLE background ("  # the background words
        " name TEXT PRIMARY KEY,"
        " embedding BLOB NOT NULL) WITHOUT ROWID",  # float32, little-endian
    ),
    (
        "CREATE TABLE absent ("  # of files that do not exist now: the columns of images
        " row INTEGER PRIMARY KEY,"  # in use as those of images are
        " path TEXT NOT NULL,"
        " size INTEGER NOT NULL,"
        " mtime_ns INTEGER NOT NULL,"
        " is_settled INTEGER NOT NULL,"
        " digest BLOB,"
        " width INTEGER,"
        " height INTEGER,"
        " taken_at TEXT,"
        " camera TEXT,"
        " is_removed INTEGER NOT NULL,"  # 0: its file is expected to be back
        " left_at INTEGER NOT NULL)",  # seconds since 1970
        "CREATE INDEX absent_by_path ON absent (path)",
        "CREATE INDEX absent_by_digest ON absent (digest)",
    ),
    (  # of a million images it takes half a second to count them from the disk
        f"INSERT INTO meta SELECT '{NUM_IMAGES}', count(*) FROM images",
        # An older clipkit may be writing while this is migrated, and does not know of it.
        f"CREATE TRIGGER counts_more AFTER INSERT ON images BEGIN"
        f" UPDATE meta SET value = value + 1 WHERE key = '{NUM_IMAGES}'; END",
        f"CREATE TRIGGER counts_less AFTER DELETE ON images BEGIN"
        f" UPDATE meta SET value = value - 1 WHERE key = '{NUM_IMAGES}'; END",
    ),
)
SCHEMA_VERSION = len(MIGRATIONS)
# Added to the version of an index with crops: a clipkit that knows of none would write images
# without, and move the others' wholes alone.
_CROPS_FLAG = 256

_BUSY_SECONDS = 10.0  # how long a reader waits for a commit, which takes milliseconds
PATH_ERRORS = sys.getfilesystemencodeerrors()  # keeps names that are not valid Unicode


def open_catalog_file(path: Path, folder: Path, *, create: bool) -> sqlite3.Connection:
    """Return a connection in autocommit mode to a catalog of the current schema.

    Args:
        path: The SQLite file.
        folder: The image folder, for messages.
        create: Whether to make the file if there is none.

    Returns:
        The connection; read-only where the file cannot be written.

    Raises:
        LibraryError: If the file is damaged, not clipkit's, newer than this clipkit or cannot be
            opened.
    """
    with library_errors(path, folder):
        connection = _connect(path, create=create)
        try:
            if _is_old(connection, path, folder):
                connection = _in_current_schema(connection, path)
            connection.execute("PRAGMA synchronous = FULL")  # a commit survives a power cut
        except BaseException:
            connection.close()
            raise
    return connection


def rebuild_command(folder: Path) -> str:
    """Return the command that rebuilds a folder's index."""
    return f"clipkit index --rebuild {shlex.quote(str(folder))}"


def damaged_library(folder: Path, reason: str) -> DamagedLibraryError:
    """Return the error for an index that cannot be trusted any more."""
    return DamagedLibraryError(
        f"the index of {folder} is damaged ({reason}): run  {rebuild_command(folder)}  (with the "
        "--model that made it, if it was not the starter)"
    )


@contextmanager
def library_errors(path: Path, folder: Path) -> Iterator[None]:
    """Turn the errors of SQLite and of the file system into sentences that say what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise _library_error(error, path, folder) from error
    except OSError as error:
        raise _unusable(path, folder, error.strerror or str(error)) from error


def _connect(path: Path, *, create: bool) -> sqlite3.Connection:
    """Return a connection in autocommit mode; read-only where writing is not possible."""
    uri = path.absolute().as_uri()
    for mode in ("rwc",) if create else ("rw", "ro", "ro&immutable=1"):
        if mode.endswith("immutable=1") and _has_log(path):
            return _connect_to_copy(path)  # SQLite would look past what was committed last
        connection = _open(f"{uri}?mode={mode}")
        try:
            connection.execute("PRAGMA schema_version").fetchone()  # the first real access
        except sqlite3.OperationalError as error:
            connection.close()
            if not _allows_reading(error):
                raise
            failure = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise failure


def _has_log(path: Path) -> bool:
    """Return whether a killed writer has left commits in the log beside a catalog."""
    log = path.with_name(f"{path.name}-wal")
    return log.is_file() and log.stat().st_size > 0


def _connect_to_copy(path: Path) -> sqlite3.Connection:
    """Return a connection to the state of a catalog and its log, in memory."""
    import shutil  # as tempfile: only here, they take 5 ms
    import tempfile

    with tempfile.TemporaryDirectory(prefix="clipkit-") as scratch:
        copy = Path(scratch) / path.name
        shutil.copyfile(path, copy)
        if _has_log(path):
            shutil.copyfile(*(file.with_name(f"{path.name}-wal") for file in (path, copy)))
        connection = _open(":memory:")
        with closing(_open(copy.as_uri())) as whole:
            whole.backup(connection)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _open(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        uri,
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.text_factory = partial(str, encoding="utf-8", errors=PATH_ERRORS)
    return connection


def _is_old(connection: sqlite3.Connection, path: Path, folder: Path) -> bool:
    """Return whether a file is of an older schema; refuse those that are not ours or newer."""
    version = _pragma(connection, "user_version") % _CROPS_FLAG
    owner = _pragma(connection, "application_id")
    is_new = not (version or owner or _pragma(connection, "schema_version"))
    if not is_new and owner != APPLICATION_ID:
        raise damaged_library(folder, f"{path} is not a clipkit catalog")
    if version > SCHEMA_VERSION:
        raise LibraryError(
            f"the index of {folder} was written by a newer clipkit (schema {version}, this one "
            f"knows up to {SCHEMA_VERSION}): use that one, or "
            f"run  {rebuild_command(folder)}"
        )
    return version < SCHEMA_VERSION


def _in_current_schema(connection: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """Return a connection to the current schema: a copy in memory of a file that is read-only."""
    try:
        # In WAL mode reading goes with writing; where it is impossible SQLite keeps its other mode.
        connection.execute("PRAGMA journal_mode = WAL")
        _migrate(connection)
    except sqlite3.OperationalError as error:
        if not _allows_reading(error):
            raise
        connection.close()
        connection = _connect_to_copy(path)
        connection.execute("PRAGMA query_only = OFF")
        _migrate(connection)
        connection.execute("PRAGMA query_only = ON")
    return connection


def _migrate(connection: sqlite3.Connection) -> None:
    """Migrate a file from its schema to the current one, as one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Read again inside the transaction: another process may have migrated it meanwhile.
        stored = _pragma(connection, "user_version")
        for statements in MIGRATIONS[stored % _CROPS_FLAG :]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        mark_crops(connection, has_crops=stored >= _CROPS_FLAG)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def mark_crops(connection: sqlite3.Connection, *, has_crops: bool) -> None:
    """Let a catalog be opened by every clipkit that knows its schema, or only by one with crops."""
    version = SCHEMA_VERSION + _CROPS_FLAG * has_crops
    if _pragma(connection, "user_version") != version:
        connection.execute(f"PRAGMA user_version = {version}")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    """Return the whole number that a pragma gives."""
    with closing(connection.execute(f"PRAGMA {name}")) as answer:
        return int(answer.fetchone()[0])


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code, 0 if the error is not SQLite's own."""
    return _extended_code(error) & 0xFF


def _extended_code(error: sqlite3.Error) -> int:
    """Return SQLite's result code with its details, 0 if the error is not SQLite's own."""
    return int(getattr(error, "sqlite_errorcode", 0))


def _allows_reading(error: sqlite3.Error) -> bool:
    """Return whether only writing failed, so that reading may be possible."""
    # The latter: what processes share beside a log, 32 KiB, cannot be made on a full disk.
    return _code(error) in (
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
    ) or _extended_code(error) in (sqlite3.SQLITE_IOERR_SHMOPEN, sqlite3.SQLITE_IOERR_SHMSIZE)


def _has_no_room(error: sqlite3.Error) -> bool:
    is_shared = _extended_code(error) == sqlite3.SQLITE_IOERR_SHMSIZE
    return is_shared or _code(error) == sqlite3.SQLITE_FULL


def _unusable(path: Path, folder: Path, reason: str) -> LibraryError:
    return LibraryError(
        f"the index of {folder} cannot be opened or written at {path.parent}: {reason}"
    )


def _library_error(error: sqlite3.Error, path: Path, folder: Path) -> LibraryError:
    """Return the sentence for one of SQLite's errors."""
    code = _code(error)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return LibraryBusyError(
            f"another process is writing to the index of {folder}: try again when it is done"
        )
    if _has_no_room(error):
        return LibraryError(
            f"no space is left for the index of {folder} at {path.parent}: what was committed is "
            "kept; make room and run the same command again"
        )
    if code in (
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_IOERR,
    ):
        return _unusable(path, folder, str(error))
    return damaged_library(folder, f"{path}: {error}")
