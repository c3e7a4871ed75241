"""What a file holds, without decoding its pixels: a hash of its bytes and what its header says."""

import hashlib
import os
import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path

from clipkit.errors import ImageReadError
from clipkit.inputs.details import PictureDetails, read_details
from clipkit.inputs.files import open_file
from clipkit.inputs.reasons import UnreadableError
from clipkit.progress import map_ahead, usable_cores

DIGEST_BYTES = 16  # of SHA-256: enough for any number of pictures, half the room in the catalog

# A file changed twice within the coarsest clock of a file system in use (FAT) can keep its time.
_TICK_NS = 2_000_000_000
_MAX_BYTES_HASHED = 2**34  # no scanner makes more, and nobody waits for a terabyte of zeros
_AHEAD = 4 * usable_cores()  # files read before they are needed


@dataclass(frozen=True)
class Inspection:
    """What was seen of one file."""

    digest: bytes | None  # None if its header cannot be read: the encoder will say why
    details: PictureDetails | None
    is_settled: bool  # whether a later change must show in its time


def hash_file(path: Path) -> bytes:
    """Return the digest of a file's bytes: equal for copies, whatever they are called.

    Args:
        path: The file.

    Returns:
        DIGEST_BYTES bytes.

    Raises:
        OSError: If it cannot be read.
        UnreadableError: If it is no regular file, is empty, or has more than 16 GiB.
    """
    with open_file(path) as file:
        if os.fstat(file.fileno()).st_size > _MAX_BYTES_HASHED:
            raise UnreadableError("is too large: it has more than 16 GiB")
        digest = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type]  # it has readinto
    return digest.digest()[:DIGEST_BYTES]


def inspect_file(path: Path) -> Inspection:
    """Return what a file holds; one that cannot be read has neither digest nor details."""
    is_settled = False
    try:
        is_settled = abs(time.time_ns() - path.stat().st_mtime_ns) > _TICK_NS
        details = read_details(path)  # first: what is no picture may be endless
        return Inspection(hash_file(path), details, is_settled)
    except (OSError, ImageReadError, UnreadableError) as error:
        return Inspection(None, None, is_settled and not _is_of_the_moment(error))


def _is_of_the_moment(error: Exception) -> bool:
    """Return whether the system refused a file, which may be otherwise next time."""
    cause = error.__cause__ if isinstance(error, ImageReadError) else error
    return isinstance(cause, OSError) and cause.errno is not None  # Pillow's own have no number


def inspect_files(paths: Iterable[Path]) -> Generator[Inspection]:
    """Return what each file holds, in order, reading ahead in threads."""
    return map_ahead(inspect_file, paths, ahead=_AHEAD)
