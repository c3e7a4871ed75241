"""ListSource, a dataset of pairs that a test gives."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit.data.image_ends import NO_HASH, NO_SIZE, file_hashes, file_sizes, read_ends
from clipkit.data.pair import Pair, file_stamp
from clipkit.errors import ImageReadError
from tests.fakes import save_image


class ListSource:
    """A source of pairs that are given.

    Args:
        pairs: The pairs; in the place of one that cannot be had its error.
        labels: The class of each pair, if they have classes.
        class_names: Their names.
    """

    def __init__(
        self,
        pairs: Sequence[Pair | ImageReadError],
        *,
        labels: Sequence[int] = (),
        class_names: tuple[str, ...] = (),
    ) -> None:
        self._pairs = pairs
        self._labels = labels
        self.class_names = class_names
        self.skipped: Sequence[ImageReadError] = []

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, row: int) -> Pair:
        pair = self._pairs[row]
        if isinstance(pair, ImageReadError):
            raise pair
        return pair

    def label(self, row: int) -> int | None:
        """Return the class of a pair."""
        return self._labels[row] if self._labels else None

    def class_name(self, row: int) -> str | None:
        """Return the name of a pair's class, None where it has none."""
        label = self.label(row)
        return None if label is None else self.class_names[label]

    def local_name(self, row: int) -> str:
        """Return the name of a pair."""
        pair = self._pairs[row]
        return pair.path if isinstance(pair, ImageReadError) else pair.name

    def stamp(self, row: int) -> bytes:
        """Return the stamp of a file, and the same for all that is none."""
        pair = self._pairs[row]
        is_file = isinstance(pair, Pair) and isinstance(pair.image, Path)
        return file_stamp(pair.image) if is_file else b"no file"  # type: ignore[union-attr, arg-type]

    def image_sizes(self) -> NDArray[np.int64]:
        """Return the sizes of files and of bytes."""
        return np.array([self._ends(row)[0] for row in range(len(self))], dtype=np.int64)

    def ends_hashes(self, rows: NDArray[np.integer]) -> NDArray[np.uint64]:
        """Return hashes of the first and last bytes."""
        return np.array([self._ends(row)[1] for row in rows.tolist()], dtype=np.uint64)

    def _ends(self, row: int) -> tuple[int, int]:
        pair = self._pairs[row]
        if isinstance(pair, ImageReadError):
            return NO_SIZE, NO_HASH
        if isinstance(pair.image, bytes):
            ends = read_ends(io.BytesIO(pair.image), 0, len(pair.image))
            return ends.size, ends.hash
        path = [Path(pair.image)]  # type: ignore[arg-type]
        return int(file_sizes(path)[0]), int(file_hashes(path)[0])

    def first_rows(self) -> None:
        """Return None: equal bytes are equal images."""

    @property
    def fingerprint(self) -> str:
        """Return what identifies the listing."""
        return "a list"


COLORS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def colored_pairs(folder: Path, captions: Mapping[str, tuple[str, ...]]) -> list[Pair]:
    """Return pairs with images of one colour, which is the first word of their names."""
    return [
        Pair(save_image(folder / f"{name}.png", COLORS[name.split()[0]]), texts, f"{name}.png")
        for name, texts in captions.items()
    ]
