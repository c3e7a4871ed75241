"""Reading the rows of a table file of any format."""

import csv
import difflib
import json
import re
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clipkit.errors import InputError, MissingExtraError

SEPARATORS = ("\t", ",", ";", "|")
_SEPARATOR_LINE = re.compile(r'\ufeff?"?sep=(.)"?\r?\n?', re.IGNORECASE)
_IMAGE_NAMES = (
    "filepath",
    "file_name",
    "filename",
    "image_path",
    "image",
    "path",
    "file",
    "img",
    "impath",  # Dassl's, and so of the splits of many few-shot repositories
)
_CAPTION_NAMES = ("title", "caption", "captions", "text", "description", "prompt", "sentence")
_ROWS_AT_ONCE = 64  # of Parquet: they may hold whole images

NO_CAPTIONS = "\0"
"""In the place of a column of captions: only the images of a table are read."""


class Columns(NamedTuple):
    """The names of the columns with images and captions; empty: the first with a usual name."""

    image: str
    captions: str  # or NO_CAPTIONS: that of the images in its place


class MissingColumnError(InputError):
    """A table lacks the column of images or that of captions."""

    def __init__(self, lack: str, key: str) -> None:
        option = f"--{key.replace('_', '-')}"
        super().__init__(f"{lack}: say which by data.{key} in RUN.toml or {option}")
        self.lack = lack  # what it lacks and what it has
        self.key = key  # of the setting that names the column


class TableRow(NamedTuple):
    """One row."""

    location: str  # for messages: "line 12"
    columns: Columns  # that were read
    image: Any = None  # the cell, whatever the file has there
    captions: Any = None
    damage: str = ""  # why it has no cells


def read_table(path: Path, columns: Columns) -> Iterator[TableRow]:
    """Yield the rows of a table.

    Args:
        path: The file; its ending says what it is, others than these three are taken for CSV.
        columns: Which columns; those that are not named are looked for, in upper or lower case.

    Yields:
        All rows but empty ones, in order.

    Raises:
        InputError: If the table lacks a column, or is Parquet that cannot be read.
        MissingExtraError: If it is Parquet and pyarrow is not installed.
        OSError: If the file cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        yield from _parquet_rows(path, columns)
    elif suffix in (".jsonl", ".ndjson"):
        yield from _json_rows(path, columns)
    else:
        yield from _separated_rows(path, columns)


# --- CSV and TSV --------------------------------------------------------------------------------


def _separated_rows(path: Path, columns: Columns) -> Iterator[TableRow]:
    encoding = _encoding(path)
    # Bytes that are not UTF-8 are kept: they may belong to the name of a file.
    errors = "surrogateescape" if encoding == "utf-8-sig" else "replace"
    with path.open(encoding=encoding, errors=errors, newline="") as file:
        header, first = file.readline(), 2
        separators: Sequence[str] = SEPARATORS
        if named := _SEPARATOR_LINE.fullmatch(header):  # as Excel writes it: sep=;
            header, first, separators = file.readline(), 3, (named[1],)
        # Independent of the file's suffix: open_clip's .csv files are separated by tabs.
        by_separator = {mark: _names(header, mark) for mark in separators}
        separator = max(by_separator, key=lambda mark: _count(columns, by_separator[mark]))
        names = by_separator[separator]
        found = _find_columns(path, columns, names)
        positions = [names.index(column) for column in found]
        for number, cells in _records(file, separator, first=first):
            location = f"line {number}"
            if isinstance(cells, str):
                yield TableRow(location, found, damage=cells)
            elif not any(cells):
                continue
            elif len(cells) <= max(positions) or any(cells[len(names) :]):
                # One too many is a caption with a separator in it: its rest must not get lost.
                counts = f"has {len(cells)} columns, the first line {len(names)}"
                yield TableRow(location, found, damage=f"{counts}: put captions in quotation marks")
            else:
                yield TableRow(location, found, *(cells[at] for at in positions))


def _encoding(path: Path) -> str:
    """Return the encoding of a text: UTF-8, or UTF-16 with its mark, as spreadsheets export it."""
    with path.open("rb") as file:
        head = file.read(4)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if b"\0" in head:
        raise InputError(f"{path} is in UTF-16 without its mark, or no text: save it as UTF-8")
    return "utf-8-sig"


def _count(columns: Columns, names: Sequence[str]) -> tuple[int, int]:
    """Return how many of the columns are there, then how many there are at all."""
    return len(set(_match(columns, names)) - {""}), len(names)


def _names(header: str, separator: str) -> list[str]:
    return [name.strip() for name in split_line(header, separator)]


def split_line(line: str, separator: str) -> list[str]:
    """Return the cells of a single line; a misplaced quotation mark is taken literally."""
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return []


class _Lines:
    """An iterator over lines that can be put back and read again."""

    def __init__(self, lines: Iterator[str]) -> None:
        self.taken: list[str] = []  # since it was last cleared
        self._lines = lines
        self._again: deque[str] = deque()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self.taken.append(line)
        return line

    def put_back_but_one(self) -> None:
        """Keep the first of the lines taken; the others will be taken again."""
        self._again.extendleft(reversed(self.taken[1:]))
        del self.taken[1:]


def _records(
    file: Iterator[str], separator: str, *, first: int
) -> Iterator[tuple[int, list[str] | str]]:
    """Yield the number of each record's first line with its cells, or with what is wrong.

    A quotation mark that is never closed takes in all lines up to the next one. Only its own line
    is lost: the lines that it took in are read again.
    """
    number = first  # behind the header
    lines = _Lines(file)
    reader = csv.reader(lines, delimiter=separator, strict=True)
    while True:
        lines.taken.clear()
        cells: list[str] | str
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            has_no_end = len(lines.taken) > 1 or "unexpected end" in str(error)
            lines.put_back_but_one()
            if has_no_end:
                cells = "has a quotation mark without its end"
            else:  # one that ends inside a cell, as in  "Hello" she said,  is taken as it stands
                cells = split_line(lines.taken[0], separator) or f"is no row: {error}"
        yield number, cells
        number += len(lines.taken)


# --- JSON Lines ---------------------------------------------------------------------------------


def _json_rows(path: Path, columns: Columns) -> Iterator[TableRow]:
    keys: dict[str, None] = {}
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            location = f"line {number}"
            try:
                # Only the file's start may have a mark of its encoding.
                entry = json.loads(line.removeprefix(b"\xef\xbb\xbf").decode("utf-8"))
            except UnicodeDecodeError:
                yield TableRow(location, columns, damage="is not UTF-8")
                continue
            except (ValueError, RecursionError) as error:
                yield TableRow(location, columns, damage=f"is not JSON: {error}")
                continue
            if not isinstance(entry, dict):
                yield TableRow(location, columns, damage="is no JSON object")
                continue
            keys |= dict.fromkeys(entry)
            image, caption = _match(columns, list(keys))  # those of the lines so far
            found = Columns(
                image or columns.image or _IMAGE_NAMES[0],
                caption or columns.captions or _CAPTION_NAMES[0],
            )
            yield TableRow(location, found, entry.get(found.image), entry.get(found.captions))
    if keys:
        _find_columns(path, columns, list(keys))


# --- Parquet ------------------------------------------------------------------------------------


def _parquet_rows(path: Path, columns: Columns) -> Iterator[TableRow]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise MissingExtraError("parquet", "Reading a Parquet table") from error

    number = 0
    try:
        with path.open("rb") as file, ParquetFile(file) as table:
            found = _find_columns(path, columns, table.schema_arrow.names)
            for batch in table.iter_batches(_ROWS_AT_ONCE, columns=list(found)):
                for cells in zip(*map(batch.column, found), strict=True):
                    number += 1
                    yield _parquet_row(f"row {number}", found, cells)
    except FileNotFoundError:
        raise
    except (ArrowException, OSError) as error:
        raise InputError(f"{path} is damaged, or not Parquet: {error}") from error


def _parquet_row(location: str, columns: Columns, cells: tuple[Any, ...]) -> TableRow:
    try:
        return TableRow(location, columns, *(cell.as_py() for cell in cells))
    except UnicodeDecodeError:
        return TableRow(location, columns, damage="is not UTF-8")


# --- columns ------------------------------------------------------------------------------------


def _match(columns: Columns, names: Sequence[str]) -> tuple[str, str]:
    """Return the column of images and that of captions, each empty where it is not there."""
    lowered = {name.lower(): name for name in reversed(names)}
    usual = (_IMAGE_NAMES, _CAPTION_NAMES)
    image, caption = (
        next((lowered[known] for known in some if known in lowered), "")
        if not asked
        else asked * (asked in names)
        for asked, some in zip(columns, usual, strict=True)
    )
    return image, image if columns.captions == NO_CAPTIONS else caption


def find_image_column(path: Path, asked: str, names: Sequence[str]) -> str:
    """Return the column of a table that holds its images.

    Args:
        path: Of the table, for messages.
        asked: The name of the column; empty: the first with a usual name.
        names: All columns.

    Returns:
        One of them.

    Raises:
        MissingColumnError: If it is not there.
    """
    return _find_columns(path, Columns(asked, NO_CAPTIONS), names).image


def _find_columns(path: Path, columns: Columns, names: Sequence[str]) -> Columns:
    """Return the two columns, or raise MissingColumnError if one is not there."""
    found = Columns(*_match(columns, names))
    usual = (("images", _IMAGE_NAMES), ("captions", _CAPTION_NAMES))
    for key, asked, column, (what, some) in zip(
        ("image_column", "caption_column"), columns, found, usual, strict=True
    ):
        if column:
            continue
        if not names:
            raise InputError(f"{path} holds no table: its first line is empty")
        free = [name for name in names if name not in found]
        near = difflib.get_close_matches(asked or some[0], free, n=1, cutoff=0.4)
        hint = f" (nearest: {near[0]})" if near else ""
        missing = asked or f"for {what}, such as {', '.join(some[:4])}"
        lack = f"{path} has no column {missing}; it has {', '.join(names)}{hint}"
        raise MissingColumnError(lack, key)
    return found
