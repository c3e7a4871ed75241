"""An image-text pair, the interface of a dataset of pairs, and the settings of its layout."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from clipkit.errors import ImageReadError
from clipkit.files import sha256_of
from clipkit.inputs.image_input import ImageInput
from clipkit.inputs.read_errors import UnreadableError, reason_for
from clipkit.inputs.safe_open import open_file


class Pair(NamedTuple):
    """One image and its captions."""

    image: ImageInput  # a path, or encoded bytes
    captions: tuple[str, ...]  # at least one, none empty
    name: str  # for reports: a path, "shards/000.tar/0001"


class PairDataset(Protocol):
    """A map-style dataset of image-text pairs: each is read when its row is accessed."""

    def __len__(self) -> int:
        """Return the number of pairs."""

    def __getitem__(self, row: int) -> Pair:
        """Return a pair; its image is not decoded.

        Raises ImageReadError where its file is damaged or gone.
        """

    @property
    def skipped(self) -> Sequence[ImageReadError]:
        """What was skipped while listing the dataset, such as images without captions."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes by label; none where images have no class."""

    def label(self, row: int) -> int | None:
        """Return the class label of a pair, None where images have no class."""

    def class_name(self, row: int) -> str | None:
        """Return the name of a pair's class, None where it has none."""

    def local_name(self, row: int) -> str:
        """Return the name of a pair within its dataset, the same wherever that is stored."""

    def stamp(self, row: int) -> bytes:
        """Return bytes that change when the file of a pair's image does; empty: no such file."""

    def image_sizes(self) -> NDArray[np.int64]:
        """Return the sizes of the encoded images, bytes, shape (N,); none is read for it.

        NO_SIZE is in the place of one that is not known.
        """

    def ends_hashes(self, rows: NDArray[np.integer]) -> NDArray[np.uint64]:
        """Return ImageEnds.hash of the encoded images of rows; little is read for it.

        NO_HASH is in the place of one that cannot be read.
        """

    def first_rows(self) -> NDArray[np.int64] | None:
        """Return for each pair the row of the first one with the same image, shape (N,).

        None: the dataset does not know, and equal bytes are equal images.
        """

    @property
    def fingerprint(self) -> str:
        """A hash of the listing: which images by name, with which captions."""


Format = Literal["auto", "folder", "classes", "table", "shards"]
Split = Literal["train", "validation", "test"]
Say = Callable[[str], None]
"""Is called with a line on how a dataset was understood, or on what is odd about it."""

DEFAULT_TEMPLATES = ("a photo of a {}.",)


@dataclass(frozen=True)
class PairLayout:
    """The layout of a dataset, as far as it is given; a default means that it is detected."""

    format: Format = "auto"
    image_column: str = ""  # of a table, with paths or with the files themselves
    caption_column: str = ""  # of a table
    caption_ending: str = ""  # of caption files, and of members of shards: "caption", "en.txt"
    templates: tuple[str, ...] = DEFAULT_TEMPLATES  # class name -> caption, each with one {}
    class_names: str = ""  # a file with names of classes, as read_class_names reads it
    split: Split = "train"  # of a folder that is divided into splits


class LostPairsError(ImageReadError):
    """Pairs are lost together, such as those behind the end of a shard that is cut off.

    Args:
        path: What they were in.
        reason: Why they are lost.
        num_pairs: How many they are.
    """

    def __init__(self, path: str | Path, reason: str, num_pairs: int) -> None:
        super().__init__(path, reason)
        self.num_pairs = num_pairs

    def __reduce__(self) -> tuple[type["LostPairsError"], tuple[str, str, int]]:  # type: ignore[override]
        """Pickle the error as its parts, for other processes."""
        return type(self), (self.path, self.reason, self.num_pairs)


def count_pairs(errors: Iterable[ImageReadError]) -> int:
    """Return how many pairs errors are about."""
    return sum(error.num_pairs if isinstance(error, LostPairsError) else 1 for error in errors)


def any_of(names: Sequence[str]) -> str:
    """Return names as in "a, b or c"."""
    return " or ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def list_some(items: Iterable[object], *, most: int = 3) -> str:
    """Return the first of some things on one line, and how many more there are."""
    everything = iter(items)
    shown = "; ".join(map(str, islice(everything, most)))
    more = sum(1 for _ in everything)
    return f"{shown}; and {more} more" if more else shown


def image_digest(image: ImageInput) -> bytes:
    """Return a hash of an encoded image.

    Args:
        image: A path or the bytes of a file, as datasets of pairs give them.

    Returns:
        32 bytes, equal for equal files only.

    Raises:
        ImageReadError: If the file cannot be read.
    """
    if isinstance(image, bytes):
        return hashlib.sha256(image).digest()
    assert isinstance(image, str | Path)
    try:
        with open_file(Path(image)) as file:
            return sha256_of(file)
    except (OSError, UnreadableError) as error:
        raise ImageReadError(image, reason_for(error, b"")) from error


def file_stamp(path: Path) -> bytes:
    """Return the size and modification time of a file, as bytes; none if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return b""
    return f"{found.st_size} {found.st_mtime_ns}".encode()
