"""Sizes of image files and hashes of their first and last bytes: what tells most files apart.

Two files with equal hashes may still differ in between; two with different hashes do differ.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipkit.inputs.read_errors import UnreadableError
from clipkit.inputs.safe_open import open_file

NO_SIZE = -1
"""In the place of the size of an image that is not known."""

NO_HASH = 0
"""In the place of the hash of an image that cannot be read."""

# Beginnings alone would not do: pictures of one camera or program may share kilobytes of profiles.
_HEAD_SIZE, _TAIL_SIZE = 2048, 512  # bytes


class ImageEnds(NamedTuple):
    """The first and the last bytes of a file; of a small one they overlap."""

    head: bytes
    tail: bytes
    size: int  # of the file, bytes

    @property
    def hash(self) -> int:
        """64 bits, not NO_HASH; equal for equal files."""
        content = b"%d %s %s" % (self.size, self.head, self.tail)
        return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big") or 1


def read_ends(file: BinaryIO, offset: int, size: int) -> ImageEnds:
    """Read the ends of a file that may lie within another.

    Args:
        file: An open file.
        offset: Where it begins in there.
        size: Its size, bytes.

    Returns:
        Its ends, shorter if the bytes are not there.
    """
    file.seek(offset)
    head = file.read(min(size, _HEAD_SIZE))
    file.seek(offset + max(size - _TAIL_SIZE, 0))
    return ImageEnds(head, file.read(min(size, _TAIL_SIZE)), size)


def file_sizes(paths: Iterable[Path]) -> NDArray[np.int64]:
    """Return the sizes of files in bytes, shape (N,); NO_SIZE for one that is not there."""
    return np.fromiter(map(_file_size, paths), dtype=np.int64)


def file_hashes(paths: Iterable[Path]) -> NDArray[np.uint64]:
    """Return the hashes of the ends of files, shape (N,); NO_HASH for one that cannot be read."""
    return np.fromiter(map(_file_hash, paths), dtype=np.uint64)


def _file_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):  # ValueError: a null character
        return NO_SIZE


def _file_hash(path: Path) -> int:
    try:
        with open_file(path) as file:
            size = file.seek(0, 2)
            return read_ends(file, 0, size).hash
    except (OSError, UnreadableError):
        return NO_HASH
