"""Images held inside a table, unpacked once into one file of the cache.

A row of Parquet cannot be read without its neighbours, so images are read once, and from then on
at random from that file, as out of a shard.
"""

import hashlib
import secrets
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from clipkit.data.listed_pairs import TextRows
from clipkit.data.table_rows import Columns, TableRow
from clipkit.data.webdataset import Shard, ShardPairs
from clipkit.errors import ImageReadError, InputError
from clipkit.paths import cache_directory, readable_name


class ImagePack:
    """The images of one table, added one by one.

    Args:
        path: The table, which the file in the cache is named after.
    """

    def __init__(self, path: Path) -> None:
        self.file = Path()  # where the images are
        self._path = path
        self._rows: list[tuple[str, ...]] = []
        self._sizes = array("q")
        self._draft: Path | None = None
        self._stream: BinaryIO | None = None

    def __len__(self) -> int:
        """How many images."""
        return len(self._sizes)

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
        self._rows.append((f"{self._path.name}/{row.place}", *captions))
        self._sizes.append(len(image))

    def finish(self) -> None:
        """Keep the file, now that all images are in it.

        Raises:
            InputError: If it cannot be written.
        """
        if self._stream is None or self._draft is None:
            return
        try:
            self._stream.close()
            self._draft.replace(self.file)
        except OSError as error:
            raise self._no_room(error) from error
        self._stream = self._draft = None

    def discard(self) -> None:
        """Remove what is written of a file that is not finished."""
        if self._stream is not None and self._draft is not None:
            self._stream.close()
            self._draft.unlink(missing_ok=True)

    def pairs(self, *, skipped: Sequence[ImageReadError]) -> ShardPairs:
        """Return the images with their captions, and what is no pair."""
        ends = np.cumsum(self._sizes, dtype=np.int64)
        sizes = np.array(self._sizes, dtype=np.int64)
        images = np.stack([np.zeros_like(sizes), ends - sizes, sizes])
        shard = Shard(self.file, str(self._path))
        return ShardPairs([shard], TextRows(self._rows), images, skipped=skipped)

    def _begin(self, columns: Columns) -> None:
        found = self._path.stat()
        # The same columns of a table have the same images; one that was written again is another.
        key = f"{self._path.resolve()} {found.st_size} {found.st_mtime_ns} {columns}"
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        name = readable_name(self._path.stem, fallback="table")
        self.file = cache_directory() / "images" / f"{name}-{digest}.bin"
        if self.file.is_file():
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self._draft = self.file.with_name(f"{self.file.name}.{secrets.token_hex(4)}")
        self._stream = self._draft.open("xb")

    def _no_room(self, error: OSError) -> InputError:
        reason = error.strerror or error
        return InputError(
            f"the images of {self._path} cannot be unpacked into {self.file}: {reason}"
        )
