"""A table with a picture's path and its caption in each row: CSV, TSV, JSON Lines or Parquet.

Paths count from the table's folder. Rows of one picture are one pair with several captions.
"""

import os
from pathlib import Path

from clipkit.errors import ImageReadError, InputError
from clipkit.pairs.captions import captions_of
from clipkit.pairs.listed_pairs import ListedPairs
from clipkit.pairs.table_rows import Columns, TableRow, read_table

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"})


def open_table(path: Path, *, image_column: str, caption_column: str) -> ListedPairs:
    """Return the pairs of a table.

    Args:
        path: A table; what ends like none of the kinds is taken for CSV.
        image_column: The column with the pictures' paths, which count from the table's folder,
            or else from the current one.
        caption_column: The column with a caption, or with a list of them.

    Returns:
        Pairs in the order in which their pictures first appear. Rows that are damaged or lack
        something are listed as skipped, with their lines.

    Raises:
        InputError: If the table cannot be read or lacks a column.
        MissingExtraError: If it is Parquet and pyarrow is not installed.
    """
    places: dict[str, str] = {}  # what a cell says -> where that picture is
    captions: dict[str, list[str]] = {}
    skipped: list[ImageReadError] = []
    try:
        for row in read_table(path, Columns(image_column, caption_column)):
            try:
                cell = _picture_cell(row, image_column)
                texts = _captions(row, caption_column)
                if cell not in places:
                    places[cell] = _find(cell, path.parent)
                captions.setdefault(places[cell], []).extend(texts)
            except ValueError as error:
                skipped.append(ImageReadError(f"{path} {row.place}", str(error)))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    pairs = ((place, tuple(dict.fromkeys(texts))) for place, texts in captions.items())
    return ListedPairs(path.parent, pairs, skipped=skipped)


def _picture_cell(row: TableRow, column: str) -> str:
    """Return what a row calls its picture, or raise ValueError with the reason why it does not."""
    if row.damage:
        raise ValueError(row.damage)
    if row.picture is None or row.picture == "":
        raise ValueError(f"has nothing in the column {column}")
    if not isinstance(row.picture, str):
        raise ValueError(f"has no path in the column {column}: {row.picture!r:.60}")
    return row.picture


def _captions(row: TableRow, column: str) -> tuple[str, ...]:
    try:
        captions = captions_of(row.captions)
    except ValueError as error:
        raise ValueError(f"{error}, in the column {column}") from error
    if not captions:
        raise ValueError(f"has nothing in the column {column}")
    return captions


def _find(cell: str, folder: Path) -> str:
    """Return where a picture is, relative to the folder if it lies there."""
    if os.path.isfile(folder / cell):  # noqa: PTH113 - Path.is_file raises for a name too long
        return cell
    if os.path.isfile(cell):  # noqa: PTH113
        return str(Path(cell).absolute())
    stripped = cell.strip()  # spaces beside the separators of a table made by hand
    if stripped != cell:
        return _find(stripped, folder)
    if "://" in cell:
        raise ValueError(f"names an address, {cell}: download the pictures first")
    raise ValueError(f"no such file: {cell}")
