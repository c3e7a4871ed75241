"""Records of an index: an indexed image, an unreadable file, the index's metadata."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple


class IndexedFile(NamedTuple):
    """The part of an image's record that tells whether its file has changed."""

    path: str  # relative to the folder, with "/" between its parts
    size: int  # bytes
    mtime_ns: int  # time of the last change, nanoseconds since 1970
    row: int  # its number in the store; in the local one, of its row of the vectors file
    is_settled: bool = True  # whether equal size and time prove that nothing has changed


class ImageRow(NamedTuple):
    """One indexed image."""

    path: str
    size: int  # bytes
    mtime_ns: int
    row: int  # its number in the store, which may change from one snapshot to the next
    is_settled: bool = True
    digest: bytes | None = None  # of its bytes; None in rows of the first schema
    width: int | None = None  # pixels, upright; None where the file does not say
    height: int | None = None
    taken_at: str | None = None  # local time, as in 2024-06-01T12:30:00
    camera: str | None = None

    @property
    def date(self) -> str:
        """When the image was taken, or else when its file was last changed: local time."""
        changed = datetime.fromtimestamp(self.mtime_ns // 10**9)
        return self.taken_at or changed.isoformat(timespec="seconds")


class SkippedFile(NamedTuple):
    """One file that could not be read as an image when it had this size and time."""

    path: str
    size: int  # bytes
    mtime_ns: int
    reason: str
    is_settled: bool = True


@dataclass(frozen=True)
class CatalogMeta:
    """Metadata of a whole index."""

    folder: str  # resolved, for people: paths are relative to wherever it is now
    space_id: str  # identity of the space the vectors are in
    embed_dim: int  # D
    model: str  # the name that the user gave the model; this and the next four are for people
    engine: str
    precision: str
    clipkit_version: str  # the last that wrote here
    vectors_file: str  # name of the file in use, in the library's directory
    decoder: str = ""  # what decoded the images
    num_rows: int = 0  # rows of that file in use, dead ones included
    device: int = 0  # the disk the folder was on, as the system numbers them
    inode: int = 0  # the folder on that disk; 0 where there is no such number
    mounts: tuple[str, ...] = ()  # folders in it that were on disks of their own, relative to it
    exclude: tuple[str, ...] = ()  # what the folder's owner asked to leave out
    include_hidden: bool = False
    unlisted: tuple[str, ...] = ()  # paths that could not be read in the last sync
    crops: int = 1  # how many embeddings an image has: 1, the whole, or also those of its crops
    first_cropped: int = 0  # the images of this row and of all behind it have their crops

    @property
    def num_cropped(self) -> int:
        """How many rows have crops, dead ones included; 0 in an index without."""
        return self.num_rows - self.first_cropped if self.crops > 1 else 0


class ImageFile(NamedTuple):
    """One file as it was indexed, and how many names it has."""

    path: str  # relative to the folder, with / between its parts
    digest: bytes | None  # of its bytes; None, where not known, equals no other
    num_bytes: int
    width: int | None  # pixels, upright; None where not known
    height: int | None
    mtime_ns: int | None = None  # time of the last change, nanoseconds since 1970
    is_settled: bool = True  # whether equal size and time prove that nothing has changed
    taken_at: str | None = None  # local time, as in 2024-06-01T12:30:00
    is_link: bool = False  # whether the path leads through a symbolic link
    num_names: int = 1  # hard links to the file; the bytes are free when the last one goes

    def to_dict(self) -> dict[str, str | int | None]:
        """Return the fields that identify the file to a person, as JSON has them."""
        return {
            "path": self.path,
            "width": self.width,
            "height": self.height,
            "bytes": self.num_bytes,
        }

    @property
    def num_pixels(self) -> int:
        """How many pixels it has; 0 where that is not known."""
        return (self.width or 0) * (self.height or 0)

    @property
    def num_bytes_to_gain(self) -> int:
        """How many bytes removing this path would free."""
        return 0 if self.is_link or self.num_names > 1 else self.num_bytes
