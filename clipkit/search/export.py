"""Export of an index to open formats: embeddings as .npy, image metadata as a table.

Row i of the array belongs to row i of the table. ``export.json`` names the model and its embedding
space.

Shapes: N images, D dimensions, K images read at a time.
"""

import contextlib
import importlib.util
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from clipkit.errors import InputError, LibraryError, MissingExtraError
from clipkit.files import atomic_write, is_draft, read_json_object, write_text
from clipkit.search.filters import IndexFilter, Selection
from clipkit.search.location import LibraryPlace
from clipkit.search.store.local.schema import PATH_ERRORS
from clipkit.search.store.local.store import LocalSnapshot
from clipkit.search.store.records import ImageRow
from clipkit.search.stored_embeddings import stream_contents

TableFormat = Literal["parquet", "jsonl"]

_BLOCK = 4096  # images read at a time

_MARK = "clipkit export"  # marks a directory that may be overwritten
_ABOUT = "export.json"
_EMBEDDINGS = "embeddings.npy"
_FILE_NAMES = {_EMBEDDINGS, "images.parquet", "images.jsonl", _ABOUT}

_Write = Callable[[Sequence[ImageRow]], None]


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote."""

    directory: Path
    files: tuple[Path, ...]  # the embeddings, the table, and what is said about both
    num_images: int
    embed_dim: int
    space_id: str  # of the model that made the embeddings
    model: str  # the name that the user gave it

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON has them."""
        return asdict(self) | {
            "directory": str(self.directory),
            "files": [str(file) for file in self.files],
        }


def export_library(
    place: LibraryPlace,
    directory: Path,
    accepted: IndexFilter,
    table: TableFormat | None = None,
) -> ExportReport:
    """Write the images that pass a filter, and their embeddings, to a directory.

    Args:
        place: Where the library lies.
        directory: A new or empty directory, or one that holds an earlier export.
        accepted: Which images.
        table: "parquet" or "jsonl"; None for Parquet where pyarrow is installed.

    Returns:
        What was written; each file appears whole or not at all.

    Raises:
        InputError: If the directory holds anything else.
        LibraryError: If the folder has not been indexed, the index is damaged, or a file cannot be
            written.
        MissingExtraError: If Parquet is requested and pyarrow is not installed.
    """
    kind = _table_format(table)
    names = (_EMBEDDINGS, f"images.{kind}", _ABOUT)
    files = tuple(directory / name for name in names)
    old = _check_directory(directory, names)
    with place.store.snapshot() as snapshot, _disk_errors(directory):
        meta = snapshot.meta
        directory.mkdir(parents=True, exist_ok=True)
        # The drafts are renamed from the last to the first: export.json, which says that the
        # export is whole, last. A kill between two renames leaves one that says it is not.
        with (
            atomic_write(files[2]) as about_draft,
            atomic_write(files[1]) as table_draft,
            atomic_write(files[0]) as array_draft,
        ):
            count = _write_contents(snapshot, place.prefix, accepted, array_draft, table_draft)
            about = {
                "written_by": _MARK,
                "folder": _as_text(str(place.folder)),
                "model": meta.model,
                "space_id": meta.space_id,
                "num_images": count,
                "embed_dim": meta.embed_dim,
            }
            finished = about | {"files": names, "is_finished": True}
            about_draft.write_text(json.dumps(finished, indent=2) + "\n", encoding="utf-8")
            unfinished = about | {"files": sorted(old.union(names)), "is_finished": False}
            write_text(files[2], json.dumps(unfinished, indent=2) + "\n")
        for name in old - set(names):
            (directory / name).unlink(missing_ok=True)
    return ExportReport(directory, files, count, meta.embed_dim, meta.space_id, meta.model)


def _table_format(table: TableFormat | None) -> TableFormat:
    has_parquet = importlib.util.find_spec("pyarrow") is not None
    if table is None:
        return "parquet" if has_parquet else "jsonl"
    if table not in ("parquet", "jsonl"):
        raise InputError(f'table must be "parquet" or "jsonl", got {table!r}')
    if table == "parquet" and not has_parquet:
        raise MissingExtraError("parquet", "Writing a Parquet table")
    return table


def _check_directory(directory: Path, names: Iterable[str]) -> set[str]:
    """Return which files of an earlier export lie in a directory; refuse to replace any other."""
    if not directory.exists() and not directory.is_symlink():
        return set()
    if not directory.is_dir():
        raise InputError(f"{directory} is no directory: give a new one, nothing is overwritten")
    inside = {path.name for path in directory.iterdir() if not is_draft(path)}
    about: dict[str, Any] = {}
    with contextlib.suppress(LibraryError):
        about = read_json_object(directory / _ABOUT, LibraryError)
    old: set[str] = set()
    if about.get("written_by") == _MARK:
        old = {name for name in about.get("files", ()) if name in _FILE_NAMES}
        inside.intersection_update(names)  # other files there are kept
    if foreign := sorted(inside - old):
        raise InputError(
            f"{directory} holds {foreign[0]!r}, which no export of clipkit has written: give a new "
            "or empty directory, nothing is overwritten"
        )
    return old


def _write_contents(
    snapshot: LocalSnapshot, prefix: str, accepted: IndexFilter, array_path: Path, table_path: Path
) -> int:
    """Write the embeddings to one file and the table to another; return how many images."""
    count = snapshot.count(Selection(prefix, accepted))
    write_table = _parquet_table if table_path.suffix == ".parquet" else _jsonl_table
    with array_path.open("wb") as file, write_table(table_path) as write:
        _write_header(file, (count, snapshot.meta.embed_dim))
        for images, embeddings in stream_contents(snapshot, prefix, accepted):
            file.write(embeddings.astype("<f4").tobytes())
            write([image._replace(path=image.path.removeprefix(prefix)) for image in images])
    return count


def _write_header(file: BinaryIO, shape: tuple[int, int]) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _record(image: ImageRow) -> dict[str, Any]:
    return {
        "path": image.path,
        "width": image.width,
        "height": image.height,
        "taken_at": image.taken_at,
        "camera": image.camera,
        "bytes": image.size,
    }


@contextlib.contextmanager
def _jsonl_table(path: Path) -> Iterator[_Write]:
    r"""Write one JSON object a line; an odd byte of a name, 0xff say, becomes ``\udcff``."""
    with path.open("w", encoding="ascii", newline="\n") as file:

        def write(images: Sequence[ImageRow]) -> None:
            file.writelines(json.dumps(_record(image)) + "\n" for image in images)

        yield write


@contextlib.contextmanager
def _parquet_table(path: Path) -> Iterator[_Write]:
    r"""Write one row an image; an odd byte of a name becomes four characters, ``\xff``."""
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    texts, numbers = pyarrow.string(), pyarrow.int64()
    schema = pyarrow.schema(
        [
            ("path", texts),
            ("width", numbers),
            ("height", numbers),
            ("taken_at", texts),
            ("camera", texts),
            ("bytes", numbers),
        ]
    )
    with ParquetWriter(path, schema) as writer:

        def write(images: Sequence[ImageRow]) -> None:
            records = [{**_record(image), "path": _as_text(image.path)} for image in images]
            writer.write_table(pyarrow.Table.from_pylist(records, schema=schema))

        yield write


def _as_text(text: str) -> str:
    r"""Return a text in which every odd byte of a file name has become characters, ``\xff``."""
    return text.encode("utf-8", PATH_ERRORS).decode("utf-8", "backslashreplace")


@contextlib.contextmanager
def _disk_errors(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LibraryError(f"{directory} cannot be written: {error.strerror or error}") from error
