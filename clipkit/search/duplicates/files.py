"""What there is to know of an image file before it is opened again."""

from typing import NamedTuple


class PictureFile(NamedTuple):
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

    @property
    def num_pixels(self) -> int:
        """How many pixels it has; 0 where that is not known."""
        return (self.width or 0) * (self.height or 0)

    @property
    def num_bytes_to_gain(self) -> int:
        """How many bytes removing this path would free."""
        return 0 if self.is_link or self.num_names > 1 else self.num_bytes
