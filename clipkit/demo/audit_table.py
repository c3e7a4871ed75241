"""The table of an audit that a visitor gives: images of the library, and the group of each."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import clipkit
from clipkit.demo.messages import refuse

MAX_BYTES = 100_000  # of a table: some 2000 rows
IMAGE_COLUMNS = ("path", "filepath", "file_name", "filename", "file", "image")
LABEL_COLUMNS = ("label", "class")
WRITTEN = "filepath"  # the column of images in the table that is audited


@dataclass(frozen=True)
class AuditTable:
    """A table whose images are of the library."""

    text: str  # CSV; the images with whole paths, in the column WRITTEN
    group_columns: tuple[str, ...]
    label_column: str  # empty: there is none
    num_images: int
    num_unknown: int  # rows whose image is not in the library


def read_audit_table(text: str, library: clipkit.PhotoLibrary) -> AuditTable:
    """Return the table that a visitor gave, with the rows whose images are indexed.

    Args:
        text: CSV, with commas, semicolons or tabs: a column with the paths of images inside the
            folder, one or more with their groups, and one with their labels, if there is any.
        library: An indexed folder.

    Returns:
        The table.

    Raises:
        gr.Error: If columns are missing, or no image is of the library.
    """
    if not text.strip():
        raise refuse("Choose a table first: CSV with the columns path, group and, if known, label")
    rows = _rows(text)
    header = [name.strip() for name in next(rows, [])]
    image = _find(header, IMAGE_COLUMNS)
    if image is None:
        raise refuse(
            f"The table needs a column of images called path, got {', '.join(header[:8])}: its "
            "first line names the columns"
        )
    label = _find(header, LABEL_COLUMNS)
    groups = [at for at, name in enumerate(header) if name and at not in (image, label)]
    if not groups:
        raise refuse("The table needs a column with the group of each image, such as group")
    known = {path.relative_to(library.folder).as_posix(): path for path in _paths(library)}
    out = io.StringIO()
    writer = csv.writer(out)
    columns = [*groups, *([] if label is None else [label])]
    writer.writerow([WRITTEN, *(header[at] for at in columns)])
    num_images = num_unknown = 0
    for row in rows:
        if len(row) <= image or not row[image].strip():
            continue
        name = row[image].strip().replace("\\", "/")
        path = known.get(PurePosixPath(name).as_posix()) or known.get(_inside(name, library))
        num_unknown += path is None
        num_images += path is not None
        if path is not None:
            cells = [row[at].strip() if at < len(row) else "" for at in columns]
            writer.writerow([path.absolute(), *cells])
    if not num_images:
        raise refuse("None of the table's images is in this library: give paths inside its folder")
    return AuditTable(
        out.getvalue(), tuple(header[at] for at in groups),
        "" if label is None else header[label], num_images, num_unknown,
    )  # fmt: skip


def _rows(text: str) -> Iterator[list[str]]:
    """Return the rows of a table by what parts its first line."""
    first = text.lstrip("\ufeff").partition("\n")[0]
    delimiter = max("\t;,", key=first.count)
    return csv.reader(io.StringIO(text.lstrip("\ufeff")), delimiter=delimiter)


def _find(header: list[str], names: tuple[str, ...]) -> int | None:
    """Return the first column that is called one of some names."""
    lower = [name.lower() for name in header]
    return next((lower.index(name) for name in names if name in lower), None)


def _paths(library: clipkit.PhotoLibrary) -> list[Path]:
    return [image.path for image in library.images()]


def _inside(name: str, library: clipkit.PhotoLibrary) -> str:
    """Return a whole path as one inside the folder; "" if it lies elsewhere."""
    try:
        return Path(name).relative_to(library.folder.absolute()).as_posix()
    except ValueError:
        return ""
