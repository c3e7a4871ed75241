"""Tables (CSV, TSV, JSON Lines, Parquet) with an image and its caption in each row.

An image is a path, which counts from the table's folder, or in Parquet also the file itself: as
bytes, or as ``{bytes, path}`` as Hugging Face's datasets writes it. Rows of one file are one pair
with several captions.
"""

import os
import unicodedata
from collections.abc import Hashable, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

from clipkit.data.caption_files import captions_of
from clipkit.data.image_pack import ImagePack
from clipkit.data.listed_pairs import ListedPairs
from clipkit.data.mixing import MixedPairs
from clipkit.data.pair import PairSource, Say
from clipkit.data.table_rows import Columns, TableRow, read_table
from clipkit.errors import ImageReadError, InputError
from clipkit.files import file_identity
from clipkit.inputs.globs import NORMAL_FORMS

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"})


def open_table(path: Path, columns: Columns, *, say: Say) -> PairSource:
    """Return the pairs of a table.

    Args:
        path: A table; what ends like none of the kinds is taken for CSV.
        columns: The column with the images, whose paths count from the table's folder or else
            from the current one, and that with a caption or a list of them.
        say: Is told if images were unpacked.

    Returns:
        Pairs in the order in which their images first appear, those that are files before those
        that the table holds. Rows that are damaged or lack something are listed as skipped, with
        their lines.

    Raises:
        InputError: If the table cannot be read or lacks a column.
        MissingExtraError: If it is Parquet and pyarrow is not installed.
    """
    rows = _Rows(path)
    rows.read(columns, within="")
    return rows.source(say)


def open_metadata(
    path: Path, columns: Columns, images: Sequence[str], *, within: str, say: Say
) -> PairSource:
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
    rows = _Rows(path)
    rows.read(columns, within=within)
    for image in images:
        if _identity(path.parent / image) not in rows.identities:
            rows.skipped.append(ImageReadError(path.parent / image, f"has no row in {path.name}"))
    return rows.source(say)


class _Rows:
    """The rows of a table as they are read."""

    def __init__(self, path: Path) -> None:
        self.skipped: list[ImageReadError] = []
        self.identities: dict[Hashable, str] = {}  # of a file -> where it was first found
        self._path = path
        self._places: dict[str, str] = {}  # what a cell says -> where that image is
        self._captions: dict[str, list[str]] = {}
        self._pack = ImagePack(path)

    def read(self, columns: Columns, *, within: str) -> None:
        try:
            for row in read_table(self._path, columns):
                try:
                    self._add(row, within)
                except InputError:  # not of this row: images cannot be unpacked
                    raise
                except ValueError as error:
                    self.skipped.append(ImageReadError(f"{self._path} {row.place}", str(error)))
            self._pack.finish()
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"{self._path} cannot be read: {reason}") from error
        finally:
            self._pack.discard()

    def source(self, say: Say) -> PairSource:
        pairs = ((place, tuple(dict.fromkeys(texts))) for place, texts in self._captions.items())
        listed = ListedPairs(self._path.parent, pairs, skipped=self.skipped)
        if not len(self._pack):
            return listed
        say(f"the {len(self._pack):,} images in {self._path} are unpacked into {self._pack.file}")
        packed = self._pack.pairs(skipped=() if len(listed) else self.skipped)
        return MixedPairs([listed, packed]) if len(listed) else packed

    def _add(self, row: TableRow, within: str) -> None:
        image = _image(row)
        if isinstance(image, bytes):
            self._pack.add(row, image, _captions(row))
            return
        if within and not _normal(image).startswith(f"{within}/"):
            return
        if image not in self._places:
            place = _find(image, self._path.parent)
            identity = _identity(self._path.parent / place)
            self._places[image] = self.identities.setdefault(identity, place)
        captions = _captions(row)
        self._captions.setdefault(self._places[image], []).extend(captions)


def _identity(path: Path) -> Hashable:
    """Return what the paths of one file have in common; the path itself if it is not there."""
    try:
        return file_identity(path)
    except (OSError, ValueError):  # ValueError: a null character
        return str(path)


def _image(row: TableRow) -> str | bytes:
    """Return a row's image or what it calls it, or raise ValueError with the reason for neither."""
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
    """Return where an image is, relative to the folder if it lies there."""
    # As it stands; then without spaces beside the separators of a table made by hand; then with
    # the separators of Windows, where a file's name cannot have them; each as it is, and with
    # accents composed as other systems do.
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
