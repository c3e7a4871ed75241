"""What is to be embedded: a folder, a list, a table or shards, here or at fsspec URLs."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from clipkit.bulk_embedding.image_list import list_images_of, read_list
from clipkit.bulk_embedding.images import BulkImage, open_location
from clipkit.bulk_embedding.parts import PartImages, RowImages, ShardSamples, as_text, cut_files
from clipkit.data.shard_files import is_remote, local_path
from clipkit.data.table import TABLE_SUFFIXES
from clipkit.data.table_rows import find_image_column
from clipkit.data.webdataset import TAR_SUFFIXES, expand_shards
from clipkit.errors import ImageReadError, InputError, MissingExtraError
from clipkit.inputs.extensions import IMAGE_EXTENSIONS
from clipkit.inputs.folders import find_images

LIST_SUFFIXES = frozenset({".txt", *TABLE_SUFFIXES})


@dataclass
class BulkSource:
    """A collection: images that are files, and shards or tables that hold images."""

    images: list[BulkImage] = field(default_factory=list)
    shards: list[ShardSamples] = field(default_factory=list)
    tables: list["ImageTable"] = field(default_factory=list)
    # What is named like an image, or should be one, and cannot be listed.
    skipped: list[ImageReadError] = field(default_factory=list)

    def pieces(
        self, images: Sequence[BulkImage], done: frozenset[str], part_size: int
    ) -> Iterator[PartImages]:
        """Yield what is to be embedded, in pieces.

        Args:
            images: Those of the images that are left to do.
            done: Keys of shards and rows that are done.
            part_size: How many files or rows a piece has.

        Yields:
            Files first, then shards, then rows of tables.
        """
        yield from cut_files(images, part_size)
        yield from (shard for shard in self.shards if shard.key not in done)
        for table in self.tables:
            yield from (rows for rows in table.pieces(part_size) if rows.key not in done)

    def __bool__(self) -> bool:
        """Return whether there is anything."""
        return bool(self.images or self.shards or self.tables)


@dataclass(frozen=True)
class ImageTable:
    """A Parquet file that holds images."""

    location: str
    name: str
    key: str  # of the file as it is now
    column: str
    num_rows: int

    def pieces(self, part_size: int) -> Iterator[RowImages]:
        """Yield its rows in pieces of so many."""
        for start in range(0, self.num_rows, part_size):
            stop = min(start + part_size, self.num_rows)
            key = f"{self.key}\trows {start}-{stop}"
            yield RowImages(self.location, self.name, key, self.column, start, stop)


def open_bulk_source(
    source: str | Path | Sequence[str | Path], *, image_column: str = "", allow_urls: bool = False
) -> BulkSource:
    """Find what a collection holds; no image is opened.

    Args:
        source: A folder, a list (.txt, one path a line), a table (.csv, .tsv, .jsonl, .parquet) of
            paths or, in Parquet, of the files themselves, webdataset shards
            ("data-{000..099}.tar"); each may be an fsspec URL. Or a list of paths.
        image_column: Of a table; empty: the first with a usual name.
        allow_urls: Whether addresses that a list or a table names are fetched.

    Returns:
        The collection.

    Raises:
        InputError: If there is no such thing, or nothing in it.
        MissingExtraError: If the reader of shards, Parquet or URLs is not installed.
    """
    if not isinstance(source, str | os.PathLike):
        images, skipped = list_images_of(map(str, source), "", allow_urls=allow_urls)
        found = BulkSource(images=images, skipped=skipped)
    else:
        found = _open(str(source), image_column, allow_urls=allow_urls)
    if not found:
        why = f": {found.skipped[0]}" if found.skipped else ""
        raise InputError(f"{source} holds no images{why}")
    return found


def _open(text: str, image_column: str, *, allow_urls: bool) -> BulkSource:
    if not text or "\0" in text:
        raise InputError(f"what to embed must be a path or a URL, got {text!r}")
    suffix = PurePosixPath(text).suffix.lower()
    if is_remote(text) or not local_path(text).is_dir():
        if text.lower().endswith(TAR_SUFFIXES):
            return BulkSource(shards=_shards(expand_shards(text)))
        if suffix == ".parquet":
            return _open_parquet(expand_shards(text), image_column, allow_urls=allow_urls)
        if suffix in LIST_SUFFIXES:
            images, skipped = read_list(text, image_column, allow_urls=allow_urls)
            return BulkSource(images=images, skipped=skipped)
    if not is_remote(text) and local_path(text).is_file():
        known = ", ".join(sorted(LIST_SUFFIXES))
        raise InputError(
            f"{text} is nothing to embed: give a folder of images, a list or table of them "
            f"({known}) or shards (.tar)"
        )
    return _open_folder(text, image_column, allow_urls=allow_urls)


def _open_folder(text: str, image_column: str, *, allow_urls: bool) -> BulkSource:
    """Return the images in a folder; where it has none, its shards, or else its Parquet files."""
    if is_remote(text):
        found, others = _list_remote(text)
    else:
        folder = local_path(text).absolute()
        scan = find_images(folder)
        found = BulkSource(
            images=[
                BulkImage(
                    as_text(entry.path),
                    location=str(folder / entry.path),
                    size=entry.size,
                    mtime_ns=entry.mtime_ns,
                )
                for entry in scan.entries
            ],
            skipped=scan.skipped_in(local_path(text)),
        )
        others = sorted(str(path) for path in folder.iterdir() if path.is_file())
    if found:
        return found
    if shards := [name for name in others if name.lower().endswith(".tar")]:
        return BulkSource(shards=_shards(shards), skipped=found.skipped)
    if tables := [name for name in others if name.lower().endswith(".parquet")]:
        return _open_parquet(tables, image_column, allow_urls=allow_urls)
    return found


def _list_remote(url: str) -> tuple[BulkSource, list[str]]:
    """Return the images in a folder at a URL, and the URLs of all other files."""
    from fsspec.core import url_to_fs

    try:
        files, root = url_to_fs(url)
        listed: dict[str, dict[str, Any]] = files.find(root, detail=True)
    except Exception as error:  # each kind of address fails in its own way
        raise InputError(f"{url} cannot be listed: {error}") from error
    start = f"{str(root).rstrip('/')}/"
    images, others = [], []
    for path, about in sorted(listed.items()):
        address = str(files.unstrip_protocol(path))
        if PurePosixPath(path).suffix.lower() not in IMAGE_EXTENSIONS:
            others.append(address)
            continue
        name = as_text(path.removeprefix(start))
        images.append(BulkImage(name, None, address, about.get("size"), _mtime(about)))
    return BulkSource(images=images), others


def _mtime(about: dict[str, Any]) -> int | None:
    """Return when a file was changed, in nanoseconds since 1970, where its file system says so."""
    for name in ("mtime", "LastModified", "last_modified", "updated", "modified", "created"):
        told = about.get(name)
        if isinstance(told, datetime):
            return int(told.timestamp()) * 10**9
        if isinstance(told, int | float):
            return int(told * 10**9)
    return None


def _shards(locations: Sequence[str]) -> list[ShardSamples]:
    missing = [
        location
        for location in locations
        if not is_remote(location) and not local_path(location).is_file()
    ]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(locations)} shards are not there: {', '.join(missing[:3])}"
        )
    names = _short_names(locations)
    return [
        ShardSamples(_for_all(location), name, f"{name}\t{_state(location)}")
        for location, name in zip(locations, names, strict=True)
    ]


def _open_parquet(locations: Sequence[str], image_column: str, *, allow_urls: bool) -> BulkSource:
    """Return the images that Parquet files hold, and those that they name."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise MissingExtraError("parquet", "Reading a Parquet table") from error
    found = BulkSource()
    for location, name in zip(locations, _short_names(locations), strict=True):
        try:
            with open_location(location) as file, ParquetFile(file) as table:
                schema, num_rows = table.schema_arrow, table.metadata.num_rows
        except (ArrowException, OSError) as error:
            raise InputError(f"{location} cannot be read as Parquet: {error}") from error
        column = find_image_column(Path(location), image_column, schema.names)
        kind = str(schema.field(column).type)
        if "binary" in kind:  # also in a struct
            key = f"{name}\t{_state(location)} {column}"
            found.tables.append(ImageTable(_for_all(location), name, key, column, num_rows))
        else:
            images, skipped = read_list(location, column, allow_urls=allow_urls)
            found.images += images
            found.skipped += skipped
    return found


def _for_all(location: str) -> str:
    """Return a path or URL as every worker understands it, wherever that was started."""
    return location if is_remote(location) else str(local_path(location).absolute())


def _short_names(locations: Sequence[str]) -> list[str]:
    """Return the files' names; where two are equal, all of each path."""
    names = [as_text(PurePosixPath(location).name) for location in locations]
    return names if len({*names}) == len(names) else [as_text(each) for each in locations]


def _state(location: str) -> str:
    """Return what changes when a file does: its size and time, as far as they can be had."""
    if not is_remote(location):
        status = local_path(location).stat()
        return f"{status.st_size} {status.st_mtime_ns}"
    from fsspec.core import url_to_fs

    try:
        files, path = url_to_fs(location)
        about = files.info(path)
    except Exception:  # noqa: BLE001 - each kind fails in its own way; whoever reads it will say
        return "-"
    return f"{about.get('size')} {_mtime(about)}"
