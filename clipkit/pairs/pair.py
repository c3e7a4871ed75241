"""A picture with its captions, and what a place with many of them must offer."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from clipkit.errors import ImageReadError
from clipkit.inputs.images import ImageInput


class Pair(NamedTuple):
    """One picture and what is said of it."""

    image: ImageInput  # a path, or encoded bytes
    captions: tuple[str, ...]  # at least one, none empty
    name: str  # where it comes from, for reports: a path, "shards/000.tar/0001"


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

    def local_name(self, row: int) -> str:
        """Return what a pair is called within its place, wherever that lies."""

    def stamp(self, row: int) -> bytes:
        """Return what changes when the file with a pair's picture does; empty: it is not there."""

    @property
    def fingerprint(self) -> str:
        """What identifies the listing: which pictures by name, with which captions."""
