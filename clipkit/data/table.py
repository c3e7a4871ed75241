"""Tables (CSV, TSV, JSON Lines, Parquet) as datasets: an image and its caption in each row.

An image is a path, relative to the table's folder, or in Parquet also the file itself: as bytes, or
as ``{bytes, path}`` as Hugging Face's datasets writes it. Rows with the same image are one pair
with several captions.
"""

import os
import unicodedata
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

from clipkit.data.caption_files import captions_of
from clipkit.data.image_pack import ImagePack
from clipkit.data.listed_pairs import ListedPairs
from clipkit.data.mixing import ConcatenatedPairs
from clipkit.data.pair import PairDataset, Say
from clipkit.data.table_rows import Columns, TableRow, read_table
from clipkit.errors import ImageReadError, InputError
from clipkit.files import file_identity
from clipkit.inputs.globs import NORMAL_FORMS

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"})


def open_table(path: Path, columns: Columns, *, say: Say) -> PairDataset:
    """Return the pairs of a table.

    Args:
        path: A table; what ends like none of the kinds is taken for CSV.
        columns: The column with the images, whose paths count from the table's folder or else
            from the current one, and that with a caption or a list of them.
        say: Called with a line if images were unpacked into the cache.

    Returns:
        Pairs in the order in which their images first appear, those that are files before those
        that the table holds. Rows that are damaged or lack something are listed as skipped, with
        their lines.

    Raises:
        InputError: If the table cannot be read or lacks a column.
        MissingExtraError: If it is Parquet and pyarrow is not installed.
    """
    listing = TableListing(path)
    listing.read(columns)
    return listing.dataset(say)


def open_metadata(
    path: Path, columns: Columns, images: Sequence[str], *, within: str, say: Say
) -> PairDataset:
    """Return the pairs of an image folder whose metadata are a table in it.

    This is the layout of Hugging Face's imagefolder: ``metadata.csv`` (or .jsonl, .parquet) with
    the columns ``file_name`` and, for example, ``text``.

    Args:
        path: The table.
        columns: As for open_table.
        images: The images that are there, relative to the table's folder.
        within: Only rows of this folder count, relative to the table's; empty: all.
        say: As for open_table.

    Returns:
        As open_table; images without a row are listed as skipped.

    Raises:
        InputError: If the table cannot be read or lacks a column.
        MissingExtraError: If it is Parquet and pyarrow is not installed.
    """
    listing = TableListing(path)
    listing.read(columns, within=within)
    for image in map(path.parent.joinpath, images):
        if image_identity(image) not in listing.identities:
            listing.skipped.append(ImageReadError(image, f"has no row in {path.name}"))
    return listing.dataset(say)


class TableListing:
    """The pairs of a table, listed row by row.

    Args:
        path: The table.
        captions_of: Returns what a row says of its image; ValueError says what is wrong with it.
    """

    def __init__(
        self, path: Path, captions_of: Callable[[TableRow], tuple[str, ...]] | None = None
    ) -> None:
        self.skipped: list[ImageReadError] = []
        self.identities: dict[Hashable, str] = {}  # of a file -> its path when it was first found
        self._path = path
        self._captions_of = captions_of or _captions
        self._paths: dict[str, str] = {}  # content of a cell -> path of that image
        self._captions: dict[str, list[str]] = {}  # by path
        self._pack = ImagePack(path)

    def read(self, columns: Columns, *, within: str = "") -> None:
        """List the rows of the table, or of a folder beside it."""
        try:
            with self._pack:
                for row in read_table(self._path, columns):
                    try:
                        self._add(row, within)
                    except InputError:  # not of this row: images cannot be unpacked
                        raise
                    except ValueError as error:
                        where = f"{self._path} {row.location}"
                        self.skipped.append(ImageReadError(where, str(error)))
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"{self._path} cannot be read: {reason}") from error

    def dataset(self, say: Say) -> PairDataset:
        """Return what is listed as a dataset; say is told of images that were unpacked."""
        pairs = ((path, tuple(dict.fromkeys(texts))) for path, texts in self._captions.items())
        listed = ListedPairs(self._path.parent, pairs, skipped=self.skipped)
        if not len(self._pack):
            return listed
        say(f"the {len(self._pack):,} images in {self._path} are unpacked into {self._pack.file}")
        packed = self._pack.pairs(skipped=() if len(listed) else self.skipped)
        return ConcatenatedPairs([listed, packed]) if len(listed) else packed

    def _add(self, row: TableRow, within: str) -> None:
        image = _image(row)
        if isinstance(image, bytes):
            self._pack.add(row, image, self._captions_of(row))
            return
        if within and not _normal(image).startswith(f"{within}/"):
            return
        if image not in self._paths:
            path = _find(image, self._path.parent)
            identity = image_identity(self._path.parent / path)
            self._paths[image] = self.identities.setdefault(identity, path)
        captions = self._captions_of(row)
        self._captions.setdefault(self._paths[image], []).extend(captions)


def image_identity(path: Path) -> Hashable:
    """Return what the paths of one file have in common; the path itself if it is not there."""
    try:
        return file_identity(path)
    except (OSError, ValueError):  # ValueError: a null character
        return str(path)


def _image(row: TableRow) -> str | bytes:
    """Return a row's image or its path, or raise ValueError with the reason for neither."""
    if row.damage:
        raise ValueError(row.damage)
    image: Any = row.image
    if isinstance(image, dict):
        image = image.get("bytes") or image.get("path")
    if image is None or image in ("", b""):
        raise ValueError(f"has nothing in the column {row.columns.image}")
    if not isinstance(image, str | bytes):
        raise ValueError(f"has no path in the column {row.columns.image}: {row.image!r:.60}")
    return image


def _captions(row: TableRow) -> tuple[str, ...]:
    column = row.columns.captions
    try:
        captions = captions_of(row.captions)
    except ValueError as error:
        raise ValueError(f"{error}, in the column {column}") from error
    if not captions:
        raise ValueError(f"has nothing in the column {column}")
    return captions


def _normal(cell: str) -> str:
    return os.path.normpath(PureWindowsPath(cell.strip()).as_posix())


def _find(cell: str, folder: Path) -> str:
    """Return the path of an image, relative to the folder if it is found there."""
    # Spellings to try: as it is; without the spaces around it that tables made by hand have; with
    # forward slashes for the separators of Windows. Each also in other Unicode normal forms, as
    # systems compose accents differently.
    spellings = dict.fromkeys((cell, cell.strip(), PureWindowsPath(cell.strip()).as_posix()))
    forms = (unicodedata.normalize(form, text) for form in NORMAL_FORMS for text in spellings)
    for text in dict.fromkeys((*spellings, *forms)):
        if os.path.isfile(folder / text):  # noqa: PTH113 - Path.is_file raises for a name too long
            return text
        if os.path.isfile(text):  # noqa: PTH113
            return str(Path(text).absolute())
    if "://" in cell:
        raise ValueError(f"names an address, {cell}: download the images first")
    raise ValueError(f"no such file: {cell}")
