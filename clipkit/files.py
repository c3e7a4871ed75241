"""Atomic writes of files and directories, reading JSON objects, hashes, identities and locks.

What is written here is first made under another name in the same directory and then renamed: a
reader, a kill or a full disk meets the old file or the new one, never a part of either.
"""

import errno
import hashlib
import json
import os
import sqlite3
import stat
from collections.abc import Hashable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from clipkit.errors import ClipkitError

DIGEST_BYTES = 16
"""How much of a SHA-256 stands for an image's bytes: enough for any number of them."""

_DRAFT = ".clipkit-"  # how the names of unfinished files begin
_JSON_WORDS = {list: "a list", str: "a string", type(None): "null", bool: "true or false"}


@contextmanager
def atomic_write(path: Path, *, durable: bool = False, replaces: bool = True) -> Iterator[Path]:
    """Give the name of a new file, which takes the place of ``path`` when the block ends well.

    Args:
        path: The file to write; its directory must exist. What is there is replaced at the end; who
            may read and write it stays as it was.
        durable: Whether to wait until the bytes and the name are on the disk: a power cut
            afterwards loses nothing, and it takes milliseconds.
        replaces: False: what is there stays, also what another process puts there meanwhile.

    Yields:
        Where to write, in the same directory and with the same suffix. Nothing is there yet.

    Raises:
        FileExistsError: If something is there and may not be replaced.
        OSError: If the file cannot be put in its place; it names the file, not the draft. What was
            there stays, and no draft is left
            (a killed process leaves one: its name begins with ``.clipkit-``).
    """
    draft = draft_beside(path)
    try:
        yield draft
        if durable:
            with draft.open("rb+") as file:
                os.fsync(file.fileno())
        if not replaces:
            _put_where_nothing_is(draft, path)
        else:
            if path.is_file():
                draft.chmod(stat.S_IMODE(path.stat().st_mode))
            draft.replace(path)
        if durable:
            sync_directory(path.parent)
    except OSError as error:
        if error.filename is not None and os.fspath(error.filename) == os.fspath(draft):
            # A new one: the second name of a rename cannot be taken away from an error.
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        draft.unlink(missing_ok=True)


def write_bytes(
    path: Path, content: bytes, *, durable: bool = False, replaces: bool = True
) -> None:
    """Write a file atomically.

    Args:
        path: The file; its directory must exist. What is there is replaced.
        content: Its whole content.
        durable: As for :func:`atomic_write`.
        replaces: As for :func:`atomic_write`.

    Raises:
        FileExistsError: If something is there and may not be replaced.
        OSError: If writing fails; it names the file. What was there stays.
    """
    with atomic_write(path, durable=durable, replaces=replaces) as draft:
        try:
            draft.write_bytes(content)
        except OSError as error:  # a full disk has no name
            error.filename = error.filename or str(path)
            raise


def _put_where_nothing_is(draft: Path, path: Path) -> None:
    try:
        path.hardlink_to(draft)  # unlike a rename it fails if something is there
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
    except OSError:  # a disk without hard links: another process could come between these two
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        draft.replace(path)


def write_text(path: Path, text: str, *, durable: bool = False) -> None:
    """Write a text in UTF-8 atomically.

    Args:
        path: The file; its directory must exist. What is there is replaced.
        text: Its whole content. Odd bytes of file names, as Python has them, become themselves.
        durable: As for :func:`atomic_write`.

    Raises:
        OSError: If writing fails; it names the file. What was there stays.
    """
    write_bytes(path, text.encode("utf-8", "surrogateescape"), durable=durable)


def read_json_object(path: Path, error_type: type[ClipkitError]) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Args:
        path: The file, in UTF-8.
        error_type: What is raised if it cannot be read: of what the file is a part of.

    Returns:
        Its content; of keys that are there twice the last.

    Raises:
        ClipkitError: Of the type given, if the file is missing, cannot be read or holds anything
            else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise error_type(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise error_type(_no_object(path, _damage(error))) from error
    if not isinstance(content, dict):
        raise error_type(_no_object(path, _JSON_WORDS.get(type(content), "a number")))
    return content


def draft_beside(path: Path) -> Path:
    """Return a free name in the directory of a file, for a draft of it; with the same suffix."""
    return path.with_name(f"{_DRAFT}{os.urandom(6).hex()}{path.suffix[:32]}")


def is_draft(path: Path) -> bool:
    """Return whether a file has the name of a draft: of one being written, or left by a kill."""
    return path.name.startswith(_DRAFT)


def put_in_place(draft: Path, place: Path) -> None:
    """Put a finished directory in its place; what was there stays whole until that moment.

    Linux and macOS exchange two names in one step. Elsewhere the old directory is renamed first: a
    kill between the two steps leaves it beside the place, whole, under the draft's name and .old.

    Args:
        draft: The directory, on the same disk as its place.
        place: Where to. A directory that is there is deleted once the new one has its name.

    Raises:
        OSError: If it cannot be renamed, or something other than a directory is there, which stays
            as it was; so does the draft.
    """
    import shutil  # here and below: what a cold query does not need is imported where it is used

    if os.path.lexists(place) and not place.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place))
    if not place.exists():
        draft.rename(place)
    elif _exchange(draft, place):
        shutil.rmtree(draft, ignore_errors=True)
    else:
        old = draft.with_suffix(".old")
        place.rename(old)
        try:
            draft.rename(place)
        except OSError:
            old.rename(place)
            raise
        shutil.rmtree(old, ignore_errors=True)
    sync_directory(place.parent)


def sync_directory(directory: Path) -> None:
    """Wait until the names in a directory are on the disk."""
    if os.name == "nt":  # Windows does not open directories
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal digits.

    Args:
        path: The file.

    Returns:
        64 digits.

    Raises:
        OSError: If the file cannot be read.
    """
    with path.open("rb") as file:
        return sha256_of(file).hex()


def sha256_of(file: BinaryIO) -> bytes:
    """Return the SHA-256 of an open file from where it is read to its end, 32 bytes."""
    return hashlib.file_digest(file, "sha256").digest()  # type: ignore[arg-type]  # has readinto


def file_identity(path: Path, status: os.stat_result | None = None) -> Hashable:
    """Return what all paths of one file or folder have in common, and those of two never.

    It is the device and the inode. Some file systems have no inode numbers: there it is the path
    with its links followed, which tells hard links for several files.

    Args:
        path: A file or folder.
        status: What ``path.stat()`` returned, where that is known already.

    Returns:
        Something to compare with that of other paths, in this process.

    Raises:
        OSError: If nothing is there.
    """
    if status is None:
        status = path.stat()
    return (status.st_dev, status.st_ino) if status.st_ino else path.resolve()


@contextmanager
def exclusive_lock(path: Path, held: Exception) -> Iterator[None]:
    """Hold a lock file for as long as the block runs, against all processes and threads.

    It is SQLite's exclusive lock on an empty database: it works on every system that Python runs
    on, and the system drops it when the process dies, so none is ever left behind. The filelock
    package holds as well, but its import would take a twentieth of the time of a cold query.

    Args:
        path: The lock file; its directory must exist.
        held: Raised at once if the lock is held already.

    Yields:
        Nothing.

    Raises:
        OSError: If the lock file cannot be written.
    """
    with suppress(OSError):  # it is there, or SQLite says why it cannot be
        # The umask says who may write it; SQLite would let the owner alone. One that is there is
        # not opened: to close it would drop the locks that this process holds on it.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise OSError(f"{path} cannot be opened: {error}") from error
    with closing(connection):
        if not os.access(path, os.W_OK):  # of such a file SQLite lets everybody hold the lock
            raise OSError(f"{path} cannot be locked: it cannot be written")
        try:
            # Without a journal on the disk nothing is written: a full disk refuses no lock.
            connection.execute("PRAGMA journal_mode = MEMORY")
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                raise held from error
            raise OSError(f"{path} cannot be locked: {error}") from error
        yield


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two directories in one step; return whether this system can."""
    import ctypes

    names = os.fsencode(first), os.fsencode(second)
    swap = 2  # RENAME_EXCHANGE on Linux, RENAME_SWAP on macOS
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if hasattr(library, "renameat2"):
            here = -100  # AT_FDCWD
            status: int = library.renameat2(here, names[0], here, names[1], swap)
        else:
            status = library.renamex_np(*names, swap)
    except (OSError, AttributeError, TypeError):
        return False
    return status == 0


def _no_object(path: Path, got: str) -> str:
    return f"{path} cannot be read: it must hold one JSON object in UTF-8, got {got}"


def _damage(error: ValueError | RecursionError) -> str:
    """Return what a file holds that the JSON reader refused with an error."""
    if isinstance(error, UnicodeDecodeError):
        return f"bytes that are not UTF-8, from place {error.start} on"
    if isinstance(error, RecursionError):
        return "one that is nested too deeply"
    return f"no JSON: {error}"
