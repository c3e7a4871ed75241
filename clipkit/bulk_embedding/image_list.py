"""Lists of images: a path or an address a line, or in a column of a table."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from clipkit.bulk_embedding.images import BulkImage, open_location
from clipkit.bulk_embedding.parts import as_text
from clipkit.data.shard_files import is_remote, local_path
from clipkit.data.table_rows import NO_CAPTIONS, Columns, read_table
from clipkit.errors import ImageReadError, InputError

_NOT_FETCHED = "is an address, and what a list names is fetched only with --allow-urls"


def read_list(
    location: str, image_column: str, *, allow_urls: bool
) -> tuple[list[BulkImage], list[ImageReadError]]:
    """Return the images that a list or a table names.

    Args:
        location: A .txt with a path a line, or a table; a path or a URL.
        image_column: Of a table; empty: the first with a usual name.
        allow_urls: Whether addresses are fetched.

    Returns:
        Each image once, in the order of the rows, and what is wrong with other rows. Relative
        paths count from the list's folder, or else from the current one.

    Raises:
        InputError: If the list cannot be read or lacks the column.
        MissingExtraError: If it is Parquet and pyarrow is not installed.
    """
    skipped: list[ImageReadError] = []
    try:
        with _local_copy(location) as path:
            if path.suffix.lower() == ".txt":
                cells = list(_lines(path))
            else:
                cells = list(_cells(path, location, image_column, skipped))
    except OSError as error:
        raise InputError(f"{location} cannot be read: {error.strerror or error}") from error
    folder = (
        location.rpartition("/")[0] if is_remote(location) else str(local_path(location).parent)
    )
    images, wrong = list_images_of(cells, folder, allow_urls=allow_urls)
    return images, [*skipped, *wrong]


def list_images_of(
    names: Iterable[str], folder: str, *, allow_urls: bool
) -> tuple[list[BulkImage], list[ImageReadError]]:
    """Return images by their paths or addresses.

    Args:
        names: A path each; those that come again are left out.
        folder: A path or URL that relative paths count from first; empty: the current folder.
        allow_urls: Whether addresses are fetched.

    Returns:
        The images, and those that are addresses if these are not fetched.
    """
    images: list[BulkImage] = []
    skipped: list[ImageReadError] = []
    for name in dict.fromkeys(names):
        if is_remote(name):
            if allow_urls:
                images.append(BulkImage(as_text(name), location=name))
            else:
                skipped.append(ImageReadError(as_text(name), _NOT_FETCHED))
        elif is_remote(folder):
            images.append(BulkImage(as_text(name), location=f"{folder}/{name}"))
        else:
            images.append(_file(name, folder))
    return images, skipped


def _file(name: str, folder: str) -> BulkImage:
    for path in (os.path.join(folder, name), name):  # noqa: PTH118 - a million
        try:
            status = os.stat(path)  # noqa: PTH116 - Path raises for a name too long
        except (OSError, ValueError):
            continue
        whole = os.path.abspath(path)  # noqa: PTH100 - workers may have another current folder
        return BulkImage(as_text(name), None, whole, status.st_size, status.st_mtime_ns)
    return BulkImage(as_text(name), reason="no such file")


@contextmanager
def _local_copy(location: str) -> Iterator[Path]:
    """Give a list as a file of this machine, for as long as the block runs."""
    if not is_remote(location):
        yield local_path(location)
        return
    try:
        with open_location(location) as file:
            content = file.read()
    except Exception as error:  # each kind of address fails in its own way
        raise InputError(f"{location} cannot be read: {error}") from error
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / PurePosixPath(location).name
        copy.write_bytes(content)
        yield copy


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for line in file:
            if text := line.rstrip("\r\n"):
                yield text


def _cells(
    path: Path, location: str, image_column: str, skipped: list[ImageReadError]
) -> Iterator[str]:
    """Yield the paths in a table; append what is wrong with other rows."""
    for row in read_table(path, Columns(image_column, NO_CAPTIONS)):
        image: Any = row.image
        if isinstance(image, dict):
            image = image.get("path")
        reason = row.damage
        if not reason and (not isinstance(image, str) or not image.strip()):
            reason = f"has no path in the column {row.columns.image}"
        if reason:
            skipped.append(ImageReadError(f"{location} {row.location}", reason))
        else:
            yield image.strip()
