"""The files of a part: its vectors in half precision with what is known of each, and its errors.

The same rows give the same bytes: nothing in a file tells when, where or by which worker it was
written. Two layouts:

- parquet: ``part-00000.parquet`` with the columns id, vector, digest, size and mtime_ns.
- clip-retrieval: ``img_emb/img_emb_00000.npy`` and ``metadata/metadata_00000.parquet`` with the
  same columns, id called image_path and vector left out, as that program writes them and autofaiss
  reads them. Row i of the one is row i of the other.

Images that cannot be read are lines of ``errors/errors-00000.jsonl`` in both.

Shapes: K images of a part, D dimensions.
"""

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipkit.bulk_embedding.output_folder import OutputFolder
from clipkit.errors import LibraryError, MissingExtraError
from clipkit.files import DIGEST_BYTES

Layout = Literal["parquet", "clip-retrieval"]

_PART = {"parquet": "part-{:05d}.parquet", "clip-retrieval": "metadata/metadata_{:05d}.parquet"}
_VECTORS = "img_emb/img_emb_{:05d}.npy"
_ERRORS = "errors/errors-{:05d}.jsonl"
_ID_COLUMN = {"parquet": "id", "clip-retrieval": "image_path"}
_NUMBER = re.compile(r"(\d{5,})\.(?:parquet|jsonl)$")
_ABOUT = b"clipkit"  # key of the schema's metadata


class UnreadImage(NamedTuple):
    """An image of a part that could not be read."""

    id: str
    reason: str
    size: int | None
    mtime_ns: int | None


@dataclass
class PartRows:
    """The images of a part that were embedded, in the order of its items, and the others."""

    ids: list[str] = field(default_factory=list)  # K
    vectors: list[NDArray[np.float16]] = field(default_factory=list)  # K of shape (D,)
    digests: list[bytes] = field(default_factory=list)  # K, DIGEST_BYTES each
    sizes: list[int | None] = field(default_factory=list)  # K, bytes
    mtimes: list[int | None] = field(default_factory=list)  # K, nanoseconds since 1970
    unread: list[UnreadImage] = field(default_factory=list)


@dataclass(frozen=True)
class StoredPart:
    """A part as it was read back, or some columns of it."""

    number: int
    container: str  # the key of the shard or the rows of a table that it is of; empty: files
    ids: Sequence[str]
    vectors: NDArray[np.float16]  # (K, D); (0, D) where only the columns were read
    digests: Sequence[bytes]
    sizes: Sequence[int | None]
    mtimes: Sequence[int | None]


def write_part(
    folder: OutputFolder,
    layout: Layout,
    number: int,
    rows: PartRows,
    about: Mapping[str, Any],
) -> None:
    """Write the files of a part; the one that says that it is done comes last.

    Args:
        folder: Where to.
        layout: How.
        number: Of the part.
        rows: Its images. Without any, there is no file but that of its errors.
        about: What is noted in the file: space_id, model, dimensions and the like, and the key of
            a "container".

    Raises:
        LibraryError: If a file cannot be written.
        MissingExtraError: If pyarrow is not installed.
    """
    if rows.unread or not rows.ids:
        folder.write(_ERRORS.format(number), _errors_file(rows, str(about["container"])))
    else:
        folder.remove(_ERRORS.format(number))  # of a try that was killed
    if not rows.ids:
        return
    vectors = np.stack(rows.vectors).astype("<f2")
    if layout == "clip-retrieval":
        array = io.BytesIO()
        np.save(array, vectors)
        folder.write(_VECTORS.format(number), array.getvalue())
    folder.write(_PART[layout].format(number), _parquet_file(layout, rows, vectors, about))


def part_numbers(names: set[str], layout: Layout) -> list[int]:
    """Return the numbers of the parts among files that have vectors, in order."""
    start = _PART[layout].partition("{")[0]
    return sorted(_numbers(names, start))


def error_numbers(names: set[str]) -> list[int]:
    """Return the numbers of the parts among files that have errors, in order."""
    return sorted(_numbers(names, _ERRORS.partition("{")[0]))


def read_part(
    folder: OutputFolder, layout: Layout, number: int, *, has_vectors: bool = True
) -> StoredPart:
    """Read a part.

    Args:
        folder: Where it is.
        layout: Of the folder.
        number: Of the part.
        has_vectors: Whether the vectors are read as well.

    Returns:
        The part.

    Raises:
        LibraryError: If it is missing or damaged.
        MissingExtraError: If pyarrow is not installed.
    """
    pyarrow, parquet = _arrow()
    name = _PART[layout].format(number)
    columns = [_ID_COLUMN[layout], "digest", "size", "mtime_ns"]
    if has_vectors and layout == "parquet":
        columns.append("vector")
    try:
        with folder.open(name) as file:  # of the columns that are not asked for nothing is read
            table = parquet.read_table(file, columns=columns)
        about = json.loads(table.schema.metadata[_ABOUT])
        vectors = np.empty((0, about["embed_dim"]), np.float16)
        if has_vectors and layout == "parquet":
            flat = table["vector"].combine_chunks().flatten()
            vectors = flat.to_numpy(zero_copy_only=False).reshape(-1, about["embed_dim"])
        elif has_vectors:
            vectors = np.load(io.BytesIO(folder.read(_VECTORS.format(number))))
        found = {column: table[column].to_pylist() for column in columns if column != "vector"}
    except (pyarrow.ArrowException, KeyError, ValueError, TypeError, OSError) as error:
        raise LibraryError(
            f"{folder}/{name} is damaged, or was not written by clipkit embed: delete it, and run "
            f"the same clipkit embed again, which makes it anew ({error})"
        ) from error
    return StoredPart(
        number,
        about["container"],
        found[_ID_COLUMN[layout]],
        vectors,
        found["digest"],
        found["size"],
        found["mtime_ns"],
    )


class StoredErrors(NamedTuple):
    """The errors of a part as they were read back."""

    container: str  # as StoredPart has it
    has_vectors: bool  # whether the part has a file of vectors too
    unread: list[UnreadImage]


def read_errors_of(folder: OutputFolder, number: int) -> StoredErrors:
    """Read the errors of a part.

    Args:
        folder: Where they are.
        number: Of the part.

    Returns:
        The errors.

    Raises:
        LibraryError: If the file is damaged.
    """
    name = _ERRORS.format(number)
    try:
        head, *lines = map(json.loads, folder.read(name).decode().splitlines())
        unread = [UnreadImage(**line) for line in lines]
        return StoredErrors(head["container"], bool(head["vectors"]), unread)
    except (ValueError, KeyError, TypeError) as error:
        raise LibraryError(
            f"{folder}/{name} is damaged: delete it, and run the same clipkit embed again ({error})"
        ) from error


def _numbers(names: set[str], start: str) -> Iterator[int]:
    for name in names:
        match = _NUMBER.fullmatch(name.removeprefix(start)) if name.startswith(start) else None
        if match:
            yield int(match[1])


def _errors_file(rows: PartRows, container: str) -> bytes:
    head = {"vectors": len(rows.ids), "errors": len(rows.unread), "container": container}
    lines = [json.dumps(line) for line in (head, *(each._asdict() for each in rows.unread))]
    return ("\n".join(lines) + "\n").encode()


def _parquet_file(
    layout: Layout, rows: PartRows, vectors: NDArray[np.float16], about: Mapping[str, Any]
) -> bytes:
    pyarrow, parquet = _arrow()
    columns = {
        _ID_COLUMN[layout]: pyarrow.array(rows.ids, pyarrow.string()),
        "digest": pyarrow.array(rows.digests, pyarrow.binary(DIGEST_BYTES)),
        "size": pyarrow.array(rows.sizes, pyarrow.int64()),
        "mtime_ns": pyarrow.array(rows.mtimes, pyarrow.int64()),
    }
    if layout == "parquet":
        flat = pyarrow.array(vectors.ravel())
        columns["vector"] = pyarrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    table = pyarrow.table(columns)
    told = json.dumps(dict(about), sort_keys=True).encode()
    file = io.BytesIO()
    # Vectors and hashes do not get smaller, and dictionaries of them would be as large as they are.
    parquet.write_table(
        table.replace_schema_metadata({_ABOUT: told}),
        file,
        use_dictionary=False,
        compression="zstd",
        row_group_size=max(len(rows.ids), 1),
    )
    return file.getvalue()


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("parquet", "Writing and reading embeddings in files") from error
    return pyarrow, parquet
