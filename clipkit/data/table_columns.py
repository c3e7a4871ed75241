"""Any columns of a table of images, gaps included: what each image is said to be."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipkit.data.pair import PairDataset, Say
from clipkit.data.table import TableListing, image_identity
from clipkit.data.table_rows import Columns, MissingColumnError, TableRow, read_table
from clipkit.errors import InputError


@dataclass(frozen=True)
class TableColumns:
    """The images of a table and what some of its columns say of each."""

    dataset: PairDataset
    cells: dict[str, list[str | None]]  # by column, one a row of the dataset; None: a gap
    contradictions: dict[str, int]  # by column: images of which rows say different things; None too


def open_table_columns(
    path: Path, image_column: str, columns: Sequence[str], *, say: Say
) -> TableColumns:
    """Return the images of a table with the cells of some columns.

    Args:
        path: As :func:`clipkit.data.table.open_table` takes it.
        image_column: The column with the images; empty: the first with a usual name.
        columns: At least one other.
        say: Called with a line if images were unpacked into the cache.

    Returns:
        Each image once. Rows that are damaged, or without an image that is there, are listed as
        skipped.

    Raises:
        InputError: If the table cannot be read, lacks a column or holds no image.
        MissingExtraError: If it is Parquet and pyarrow is not installed.
    """
    # What is kept of a row is where it stands, so that a gap in a column loses no image.
    listing = TableListing(path, lambda row: (row.location,))
    said_of: dict[str, dict[str, str]] = {}
    try:
        listing.read(Columns(image_column, columns[0]))
        for column in dict.fromkeys(columns):
            said_of[column] = _cells_by_location(path, Columns(image_column, column))
    except MissingColumnError as error:
        if error.key == "image_column":
            raise
        raise InputError(error.lack) from None  # a column of the caller's, with an option of his
    dataset = listing.dataset(say)
    if not len(dataset):
        if not dataset.skipped:
            raise InputError(f"{path} names no image: it has no rows")
        raise InputError(f"{path} names no image that is there: {dataset.skipped[0]}")
    cells: dict[str, list[str | None]] = {}
    contradictions: dict[str, int] = {}
    for column, said in said_of.items():
        found = [
            {said.get(place, "") for place in dataset[row].captions} - {""}
            for row in range(len(dataset))
        ]
        cells[column] = [next(iter(texts)) if len(texts) == 1 else None for texts in found]
        contradictions[column] = sum(len(texts) > 1 for texts in found)
    return TableColumns(dataset, cells, contradictions)


def join_columns(table: TableColumns, dataset: PairDataset) -> dict[str, list[str | None]]:
    """Return what a table says of the images of another dataset, by the files themselves.

    Args:
        table: With the columns.
        dataset: Whose images are files.

    Returns:
        By column, one a row of the dataset; None: a gap, or an image that the table does not name.
    """
    row_of = {_identity(table.dataset[row].image): row for row in range(len(table.dataset))}
    rows = [row_of.get(_identity(dataset[row].image)) for row in range(len(dataset))]
    return {
        column: [None if row is None else cells[row] for row in rows]
        for column, cells in table.cells.items()
    }


def _identity(image: object) -> Hashable:
    assert isinstance(image, str | Path | bytes)
    return image if isinstance(image, bytes) else image_identity(Path(image))


def _cells_by_location(path: Path, columns: Columns) -> dict[str, str]:
    try:
        return {row.location: _text(row) for row in read_table(path, columns)}
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def _text(row: TableRow) -> str:
    """Return a cell as text, empty for a gap: nothing there, or Parquet's null or NaN."""
    cell: Any = row.captions
    if cell is None or row.damage or cell != cell:
        return ""
    return " ".join(str(cell).split())
