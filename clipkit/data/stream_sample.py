"""The first pairs of a stream as a dataset in memory, to look at before a run starts."""

import hashlib
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clipkit.data.image_ends import ImageEnds, read_ends
from clipkit.data.pair import Pair
from clipkit.data.shard_stream import StreamedPair
from clipkit.errors import ImageReadError


class StreamSample:
    """A dataset of a few pairs of a stream.

    Args:
        pairs: The pairs.
        skipped: What was left out among them, with the reasons.
    """

    def __init__(self, pairs: Sequence[StreamedPair], skipped: Sequence[ImageReadError]) -> None:
        self._pairs = pairs
        self.skipped = skipped
        names = {pair.class_name for pair in pairs}
        # Classes only if all pairs have one, as shards that are listed have them.
        self.class_names = tuple(sorted(name for name in names if name and None not in names))

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._pairs)

    def __getitem__(self, row: int) -> Pair:
        """Return a pair, its image as the bytes of its file."""
        return self._pairs[row].pair

    def label(self, row: int) -> int | None:
        """Return the class of a pair, None where pairs have no class."""
        name = self._pairs[row].class_name
        return self.class_names.index(name) if name in self.class_names else None

    def class_name(self, row: int) -> str | None:
        """Return the name of a pair's class, None where it has none."""
        return self._pairs[row].class_name

    def local_name(self, row: int) -> str:
        """Return the name of a pair's shard and of its sample."""
        return self._pairs[row].pair.name

    def stamp(self, row: int) -> bytes:
        """Return nothing: the images are no files of this machine."""
        return b""

    def image_sizes(self) -> NDArray[np.int64]:
        """Return the sizes of the encoded images."""
        return np.array([self._ends(row).size for row in range(len(self))], dtype=np.int64)

    def ends_hashes(self, rows: NDArray[np.integer]) -> NDArray[np.uint64]:
        """Return hashes of the first and last bytes of images."""
        return np.array([self._ends(row).hash for row in rows.tolist()], dtype=np.uint64)

    def first_rows(self) -> None:
        """Return None: equal files are equal images."""

    @property
    def fingerprint(self) -> str:
        """A hash of the names of the pairs."""
        names = "\n".join(self.local_name(row) for row in range(len(self)))
        return hashlib.sha256(names.encode("utf-8", "surrogatepass")).hexdigest()

    def _ends(self, row: int) -> ImageEnds:
        image = self._pairs[row].pair.image
        assert isinstance(image, bytes)
        return read_ends(io.BytesIO(image), 0, len(image))
