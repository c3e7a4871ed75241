"""A picture with its captions, and what a place with many of them must offer."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from clipkit.errors import ImageReadError
from clipkit.inputs.images import ImageInput


class Pair(NamedTuple):
    """One picture and what is said of it."""

    image: ImageInput  # a path, or encoded bytes
    captions: tuple[str, ...]  # at least one, none empty
    name: str  # where it comes from, for reports: a path, "pairs.csv row 12", "000.tar/0001"


class PairSource(Protocol):
    """Pairs by number, each read when it is asked for."""

    def __len__(self) -> int:
        """How many pairs."""

    def __getitem__(self, row: int) -> Pair:
        """Return a pair; its picture is not decoded.

        Raises ImageReadError where the place is damaged.
        """

    @property
    def skipped(self) -> Sequence[ImageReadError]:
        """What looked like a pair but is none, as far as the listing shows."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of their labels; none where pictures have no class."""

    def label(self, row: int) -> int | None:
        """Return the class of a pair, None where pictures have no class."""

    @property
    def fingerprint(self) -> str:
        """What identifies the listing: which pictures by name, with which captions."""


class ListedPairs:
    """Pairs whose pictures are files, all of them known by name.

    Args:
        pairs: The pairs.
        skipped: What is no pair.
        class_names: Names of the classes, where there are some.
        labels: The class of each pair, likewise.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        *,
        skipped: Sequence[ImageReadError] = (),
        class_names: tuple[str, ...] = (),
        labels: Sequence[int] = (),
    ) -> None:
        self._pairs = pairs
        self._labels = labels
        self.skipped = skipped
        self.class_names = class_names

    def __len__(self) -> int:
        """How many pairs."""
        return len(self._pairs)

    def __getitem__(self, row: int) -> Pair:
        """Return a pair."""
        return self._pairs[row]

    def label(self, row: int) -> int | None:
        """Return the class of a pair, None where pictures have no class."""
        return self._labels[row] if self.class_names else None

    @property
    def fingerprint(self) -> str:
        """What identifies the listing."""
        digest = hashlib.sha256()
        for pair in self._pairs:
            for text in (pair.name, *pair.captions):
                digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
            digest.update(b"\n")
        return digest.hexdigest()
