"""What pictures of equal bytes share, and what a file changes with its bytes."""

import hashlib
from collections.abc import Hashable
from pathlib import Path

from clipkit.errors import ImageReadError
from clipkit.inputs.files import open_file
from clipkit.inputs.images import ImageInput
from clipkit.inputs.reasons import UnreadableError, reason_for


def picture_digest(image: ImageInput) -> bytes:
    """Return a hash of an encoded picture.

    Args:
        image: A path or the bytes of a file, as sources of pairs give them.

    Returns:
        32 bytes, equal for equal files only.

    Raises:
        ImageReadError: If the file cannot be read.
    """
    if isinstance(image, bytes):
        return hashlib.sha256(image).digest()
    assert isinstance(image, str | Path)
    try:
        with open_file(Path(image)) as file:
            return hashlib.file_digest(file, "sha256").digest()  # type: ignore[arg-type]
    except (OSError, UnreadableError) as error:
        raise ImageReadError(image, reason_for(error, b"")) from error


def file_stamp(path: Path) -> bytes:
    """Return the size of a file and when it was written, as bytes; none if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return b""
    return f"{found.st_size} {found.st_mtime_ns}".encode()


def file_identity(path: Path) -> Hashable:
    """Return what the paths of one file share, device and inode; its path if it is not there."""
    try:
        found = path.stat()
    except (OSError, ValueError):  # ValueError: a null character
        return str(path)
    return found.st_dev, found.st_ino
