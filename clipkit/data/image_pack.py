"""Images stored inside a Parquet table, unpacked once into one file of the cache.

Parquet cannot read one row without its neighbours, so all images are read once, and from then on in
any order from that file, as out of a shard.
"""

import hashlib
from array import array
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from clipkit.data.listed_pairs import TextRows
from clipkit.data.shard_listing import Shard
from clipkit.data.table_rows import Columns, TableRow
from clipkit.data.webdataset import ShardImages, ShardPairs
from clipkit.errors import ImageReadError, InputError
from clipkit.files import atomic_write
from clipkit.paths import cache_directory, readable_name


class ImagePack:
    """The images of one table, added one by one; they are in the cache when the block ends well.

    Args:
        path: The table, which the file in the cache is named after.
    """

    def __init__(self, path: Path) -> None:
        self.file = Path()  # where the images are
        self._path = path
        self._rows: list[tuple[str, ...]] = []
        self._sizes = array("q")
        self._stream: BinaryIO | None = None  # None: nothing is added yet, or they are in the cache
        self._writing = ExitStack()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._sizes)

    def __enter__(self) -> Self:
        """Start with no images."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Rename the file to its final name or, after an error, delete it; or raise InputError."""
        try:
            self._writing.__exit__(kind, error, trace)
        except OSError as failure:
            raise self._no_room(failure) from failure

    def add(self, row: TableRow, image: bytes, captions: Sequence[str]) -> None:
        """Add an image with its captions.

        Args:
            row: Which row of the table it is.
            image: The bytes of a file.
            captions: At least one.

        Raises:
            InputError: If it cannot be written.
        """
        try:
            if not self._sizes:
                self._begin(row.columns)
            if self._stream is not None:
                self._stream.write(image)
        except OSError as error:
            raise self._no_room(error) from error
        self._rows.append((f"{self._path.name}/{row.location}", *captions))
        self._sizes.append(len(image))

    def pairs(self, *, skipped: Sequence[ImageReadError]) -> ShardPairs:
        """Return the images with their captions as a dataset, with the rows that were skipped."""
        ends = np.cumsum(self._sizes, dtype=np.int64)
        sizes = np.array(self._sizes, dtype=np.int64)
        images = ShardImages(np.zeros(len(sizes), dtype=np.int32), ends - sizes, sizes)
        shard = Shard(self.file, str(self._path))
        return ShardPairs([shard], TextRows(self._rows), images, skipped=skipped)

    def _begin(self, columns: Columns) -> None:
        found = self._path.stat()
        # A table that was written again, or is read by other columns, may hold other images.
        key = f"{self._path.resolve()} {found.st_size} {found.st_mtime_ns} {columns}"
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        name = readable_name(self._path.stem, fallback="table")
        self.file = cache_directory() / "images" / f"{name}-{digest}.bin"
        if self.file.is_file():
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        draft = self._writing.enter_context(atomic_write(self.file))
        self._stream = self._writing.enter_context(draft.open("xb"))

    def _no_room(self, error: OSError) -> InputError:
        reason = error.strerror or error
        return InputError(
            f"the images of {self._path} cannot be unpacked into {self.file}: {reason}"
        )
