"""The images of a part: where each is, and reading it together with the hash of its bytes.

An image is a file of this machine, what an fsspec URL leads to, or bytes out of a shard or table.
"""

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from clipkit.data.shard_files import is_remote, local_path
from clipkit.errors import ImageReadError
from clipkit.files import DIGEST_BYTES, sha256_of
from clipkit.inputs.image_input import ImageInput
from clipkit.inputs.read_errors import UnreadableError, reason_for
from clipkit.inputs.safe_open import open_file

# A larger file is decoded from the disk, once its memory is reserved; so does the encoder itself.
_MAX_BYTES_AT_ONCE = 16 << 20
_MAX_BYTES_FETCHED = 1 << 30  # no scanner makes larger ones; a wrong address may have no end


class BulkImage(NamedTuple):
    """One image of a collection that is to be embedded."""

    id: str  # its path in the folder, or shard and key, or table and row; valid Unicode
    content: bytes | None = None  # of its file, where that is at hand
    location: str = ""  # else its path or URL
    size: int | None = None  # bytes; None: not known
    mtime_ns: int | None = None  # time of the last change; None: not known, or it is no file
    reason: str = ""  # why there is nothing to read, if so


@dataclass
class ReadImage:
    """An image that is being embedded, and what reading it has told."""

    image: BulkImage
    digest: bytes = b""  # the first DIGEST_BYTES of the SHA-256 of its bytes; empty: not read
    size: int | None = None
    mtime_ns: int | None = None

    def __post_init__(self) -> None:
        """Take over what is known already."""
        self.size, self.mtime_ns = self.image.size, self.image.mtime_ns


class _NamedBytes(io.BytesIO):
    """Bytes of a file with its name: the ending says what RAW files are."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


def read_bulk_image(reading: ReadImage) -> ImageInput:
    """Return an image as the encoder takes it, and note its hash, size and time.

    Args:
        reading: Where it is; takes what was learned.

    Returns:
        An open file in memory, or the path of a large one.

    Raises:
        ImageReadError: If there is nothing to read, named by its id.
    """
    image = reading.image
    if image.reason:
        raise ImageReadError(image.id, image.reason)
    try:
        if image.content is None and not is_remote(image.location):
            return _read_file(reading, local_path(image.location))
        content = image.content
        if content is None:
            content = _fetch(image.location)
        if not content:
            raise UnreadableError("is empty (0 bytes)")
    except Exception as error:  # each kind of address fails in its own way
        raise ImageReadError(image.id, reason_for(error, b"")) from error
    reading.size = len(content)
    reading.digest = hashlib.sha256(content).digest()[:DIGEST_BYTES]
    return _NamedBytes(content, image.location or image.id)


def open_location(location: str) -> BinaryIO:
    """Open a path or an fsspec URL for reading bytes at any position.

    Args:
        location: Such as "photos.parquet" or "s3://bucket/photos.parquet".

    Returns:
        The open file.

    Raises:
        Exception: If it cannot be opened: each kind of address fails in its own way.
    """
    if not is_remote(location):
        return local_path(location).open("rb")
    import fsspec

    opened: Any = fsspec.open(location, "rb").open()
    return opened  # type: ignore[no-any-return]


def _read_file(reading: ReadImage, path: Path) -> ImageInput:
    with open_file(path) as file:
        status = os.fstat(file.fileno())
        reading.size, reading.mtime_ns = status.st_size, status.st_mtime_ns
        if status.st_size > _MAX_BYTES_AT_ONCE:
            reading.digest = sha256_of(file)[:DIGEST_BYTES]
            return path
        content = file.read(status.st_size)  # no more: it may be growing
    reading.digest = hashlib.sha256(content).digest()[:DIGEST_BYTES]
    return _NamedBytes(content, path.name)


def _fetch(location: str) -> bytes:
    with open_location(location) as file:
        content = file.read(_MAX_BYTES_FETCHED + 1)
    if len(content) > _MAX_BYTES_FETCHED:
        raise UnreadableError("is too large: it has more than 1 GiB")
    return content
