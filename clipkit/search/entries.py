"""What a catalog knows: about one picture, about one unreadable file, about the whole library."""

from dataclasses import dataclass
from typing import NamedTuple


class IndexedFile(NamedTuple):
    """As much of an indexed picture as it takes to see whether its file has changed."""

    path: str  # relative to the folder, with "/" between its parts
    size: int  # bytes
    mtime_ns: int  # time of the last change, nanoseconds since 1970
    row: int  # place in the vectors file
    is_settled: bool = True  # whether equal size and time prove that nothing has changed


class ImageRow(NamedTuple):
    """One indexed picture."""

    path: str
    size: int  # bytes
    mtime_ns: int
    row: int
    is_settled: bool = True
    digest: bytes | None = None  # of its bytes; None in rows of the first schema
    width: int | None = None  # pixels, upright; None where the file does not say
    height: int | None = None
    taken_at: str | None = None  # local time, as in 2024-06-01T12:30:00
    camera: str | None = None


class SkippedFile(NamedTuple):
    """One file that could not be read as a picture when it had this size and time."""

    path: str
    size: int  # bytes
    mtime_ns: int
    reason: str
    is_settled: bool = True


@dataclass(frozen=True)
class CatalogMeta:
    """What holds for the whole library."""

    folder: str  # resolved, for people: paths are relative to wherever it is now
    space_id: str  # identity of the space the vectors are in
    embed_dim: int  # D
    model: str  # the name it was asked for by; this and the next four are for people
    engine: str
    precision: str
    clipkit_version: str  # the last that wrote here
    vectors_file: str  # name of the file in use, in the library's directory
    decoder: str = ""  # what decoded the pictures
    num_rows: int = 0  # rows of that file in use, dead ones included
    device: int = 0  # the disk the folder was on, as the system numbers them
    inode: int = 0  # the folder on that disk; 0 where there is no such number
    mounts: tuple[str, ...] = ()  # folders in it that were on disks of their own, relative to it
    exclude: tuple[str, ...] = ()  # what the folder's owner asked to leave out
    include_hidden: bool = False
    unlisted: tuple[str, ...] = ()  # paths that could not be looked at in the last sync
