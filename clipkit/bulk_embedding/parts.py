"""Parts: the pieces that a collection is cut into, each embedded and written as a whole.

How it is cut depends on the collection alone, never on who does the work.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

from clipkit.bulk_embedding.images import BulkImage, open_location
from clipkit.data.shard_files import is_remote
from clipkit.data.shard_samples import image_of
from clipkit.data.shard_stream import RETRY_SECONDS, read_samples
from clipkit.errors import ImageReadError, MissingExtraError

_ROWS_AT_ONCE = 64  # of Parquet: they hold whole images
_AT_ONCE_AGAIN = (0.0,)  # a shard on a disk is damaged, or it is not: waiting mends nothing


@dataclass(frozen=True)
class FileImages:
    """Images that are files, or have addresses."""

    images: tuple[BulkImage, ...]
    key = ""  # each image is known by itself

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.images)

    def read(self) -> Iterator[BulkImage]:
        """Yield the images."""
        return iter(self.images)


@dataclass(frozen=True)
class ShardSamples:
    """The images of a webdataset shard: a part by itself, read once from its beginning.

    How many samples a shard far away has is known only once it was read.
    """

    location: str
    name: str  # what ids begin with
    key: str  # of the shard as it is now
    count = None

    def read(self) -> Generator[BulkImage]:
        """Yield the image of each sample.

        Yields:
            With its bytes, or the reason why it has none.

        Raises:
            InputError: If the shard cannot be read, after several tries.
        """
        waits = RETRY_SECONDS if is_remote(self.location) else _AT_ONCE_AGAIN
        with closing(read_samples(self.location, waits)) as samples:
            for sample in samples:
                if isinstance(sample, ImageReadError):  # the rest is lost
                    yield BulkImage(self.name, reason=sample.reason)
                    continue
                name = as_text(f"{self.name}/{sample['__key__']}")
                try:
                    yield BulkImage(name, content=image_of(sample))
                except ValueError as error:
                    yield BulkImage(name, reason=str(error))


@dataclass(frozen=True)
class RowImages:
    """The images that some rows of a Parquet file hold as bytes, or as ``{bytes, path}``."""

    location: str
    name: str  # what ids begin with
    key: str  # of these rows of the file as it is now
    column: str
    start: int  # counted from 0
    stop: int

    @property
    def count(self) -> int:
        """How many rows there are."""
        return self.stop - self.start

    def read(self) -> Generator[BulkImage]:
        """Yield the image of each row.

        Yields:
            With its bytes, or the reason why it has none.

        Raises:
            MissingExtraError: If pyarrow is not installed.
        """
        try:
            from pyarrow.parquet import ParquetFile
        except ImportError as error:
            raise MissingExtraError("parquet", "Reading a Parquet table") from error
        with open_location(self.location) as file, ParquetFile(file) as table:
            groups, first = _row_groups(table.metadata, self.start, self.stop)
            rows = count(first)
            for batch in table.iter_batches(
                _ROWS_AT_ONCE, row_groups=groups, columns=[self.column]
            ):
                for cell, number in zip(batch.column(0), rows, strict=False):
                    if self.start <= number < self.stop:
                        yield _row_image(f"{self.name}/row {number + 1}", cell.as_py())


PartImages = FileImages | ShardSamples | RowImages


class Part(NamedTuple):
    """A piece of a collection, and the number of its files."""

    number: int
    images: PartImages


def cut_files(images: Sequence[BulkImage], part_size: int) -> Iterator[FileImages]:
    """Yield images in pieces of so many, in their order."""
    for start in range(0, len(images), part_size):
        yield FileImages(tuple(images[start : start + part_size]))


def numbered(pieces: Iterable[PartImages], taken: frozenset[int]) -> Iterator[Part]:
    """Yield pieces with the lowest numbers that are free.

    So a run that was interrupted is taken up with the numbers that one without a stop would give.
    """
    free = (number for number in count() if number not in taken)
    for images, number in zip(pieces, free, strict=False):
        yield Part(number, images)


def as_text(name: str) -> str:
    r"""Return a name in which every odd byte of a file's name has become characters, ``\xff``."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _row_groups(metadata: Any, start: int, stop: int) -> tuple[list[int], int]:
    """Return the groups that hold rows of a range, and the number of the first row of these."""
    groups: list[int] = []
    first = end = 0
    for number in range(metadata.num_row_groups):
        begin, end = end, end + metadata.row_group(number).num_rows
        if begin < stop and end > start:
            first = begin if not groups else first
            groups.append(number)
    return groups, first


def _row_image(name: str, cell: Any) -> BulkImage:
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    path = cell.get("path") if isinstance(cell, dict) else None
    if isinstance(content, bytes) and content:
        # The ending of the path says what RAW files are.
        return BulkImage(name, content=content, location=as_text(path or ""))
    return BulkImage(name, reason="has no bytes in the column of images")
