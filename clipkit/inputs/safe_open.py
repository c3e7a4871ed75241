"""Opening files that may be anything (pipes, devices, endless), and reading their headers."""

import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

from clipkit.inputs.read_errors import UnreadableError


def open_file(path: Path) -> BinaryIO:
    """Open a regular file that is not empty, for reading bytes.

    Args:
        path: Any path, also one that leads to a folder, a pipe or a device.

    Returns:
        The open file; its size is that of ``os.fstat``.

    Raises:
        UnreadableError: If it is no regular file, is empty, or its path cannot be one.
        OSError: If it is missing or cannot be opened.
    """
    try:
        _check_is_regular(path.stat())
    except ValueError as error:  # a null character
        raise UnreadableError(f"is not a path: {error}") from error
    file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115 - for the opener
    try:
        status = os.fstat(file.fileno())
        _check_is_regular(status)  # once more: another may have taken its place
        if not status.st_size:
            # Some files of /proc have no size and no end.
            raise UnreadableError("is empty (0 bytes)")
    except BaseException:
        file.close()
        raise
    return file


class HeaderReader:
    """A file with a limited number of reads until its header is understood.

    Some of Pillow's readers look for the next part of a damaged header byte by byte, through
    gigabytes if need be.

    Args:
        file: The file; all that is not reading is passed on to it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.reads_left: float = 100_000  # fractions of a second; real headers take hundreds
        self._file = file

    def read(self, size: int = -1) -> bytes:
        """Return what the file gives."""
        self.reads_left -= 1
        if self.reads_left < 0:
            raise UnreadableError("is damaged or cut off: its header has no end")
        return self._file.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def check_read_whole(file: BinaryIO) -> None:
    """Refuse a file that is too large for a decoder which holds all of it in memory.

    Args:
        file: A seekable file; it is left at its start.

    Raises:
        UnreadableError: If it has more than 1 GiB.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size > _MAX_BYTES_READ_WHOLE:
        raise UnreadableError(
            f"is too large: it has {size / 1e9:.3g} GB, the limit for its format is "
            f"{_MAX_BYTES_READ_WHOLE / 1e9:.3g}"
        )


_MAX_BYTES_READ_WHOLE = 2**30


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe too is open at once, whether or not anybody writes to it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _check_is_regular(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableError("is a folder")
    if not stat.S_ISREG(status.st_mode):
        # Opening a pipe would wait for ever, opening a device may start it.
        raise UnreadableError("is not a regular file")
