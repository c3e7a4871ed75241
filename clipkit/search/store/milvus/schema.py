"""What a collection holds: its fields and indexes, rows and records, properties and metadata."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.errors import LibraryError
from clipkit.search.store.records import CatalogMeta, ImageRow

FORMAT = "1"  # of the fields below; a later clipkit may know others
VECTOR = "vector"
RECORD_FIELDS = (
    "path",
    "size",
    "mtime_ns",
    "is_settled",
    "digest",
    "width",
    "height",
    "taken_at",
    "camera",
)
_PROPERTY = "clipkit."  # how the names of clipkit's properties begin
_CAMERA = f"{_PROPERTY}camera."
MOST_CAMERAS = 500  # beyond that they are not named, and images are looked through for them
# What is told of the whole; the rest of the metadata is about files of the local store.
_TOLD = (
    "folder",
    "space_id",
    "embed_dim",
    "model",
    "engine",
    "precision",
    "clipkit_version",
    "decoder",
)
_LONGEST = 65535  # bytes of a text, as much as Milvus takes
_KEYS = 2**63  # Milvus' whole numbers from 0 on: 63 bits of a hash

# File names need not be valid Unicode, but texts in Milvus must be: an odd byte, which Python has
# as a lone surrogate, becomes \x01 and four digits, and so does \x01 itself. Letter by letter, so
# that what begins with a folder still does.
_ODD = re.compile("[\x01\ud800-\udfff]")
_ESCAPE = re.compile("\x01([0-9a-f]{4})")


def encode_path(path: str) -> str:
    r"""Return a path as valid Unicode.

    Args:
        path: As Python has it, with lone surrogates for bytes that are no letters.

    Returns:
        The same path for `decode_path`.

    Example:
        >>> encode_path("caf\udce9.jpg")
        'caf\x01dce9.jpg'
    """
    return _ODD.sub(lambda match: f"\x01{ord(match[0]):04x}", path)


def decode_path(stored: str) -> str:
    """Return the path that `encode_path` was given."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), stored)


def image_schema(data_type: Any, schema: Any, embed_dim: int) -> Any:
    """Return the fields of images.

    Args:
        data_type: `pymilvus.DataType`.
        schema: An empty schema, `MilvusClient.create_schema()`.
        embed_dim: D.

    Returns:
        The schema.
    """
    text, number = data_type.VARCHAR, data_type.INT64
    schema.add_field("path", text, is_primary=True, max_length=_LONGEST)
    schema.add_field(VECTOR, data_type.FLOAT_VECTOR, dim=embed_dim)
    schema.add_field("is_settled", data_type.BOOL)
    for name in ("digest", "taken_at", "camera"):
        schema.add_field(name, text, max_length=_LONGEST)
    for name in ("size", "mtime_ns", "width", "height", "path_key", "digest_key"):
        schema.add_field(name, number)
    return schema


def word_schema(data_type: Any, schema: Any, embed_dim: int) -> Any:
    """Return the fields of words, as `image_schema` does those of images."""
    schema.add_field("path", data_type.VARCHAR, is_primary=True, max_length=_LONGEST)
    schema.add_field(VECTOR, data_type.FLOAT_VECTOR, dim=embed_dim)
    return schema


def entity_of(record: ImageRow, vector: NDArray[np.float32]) -> dict[str, object]:
    """Return an image as Milvus takes it.

    Args:
        record: What is known of it.
        vector: Shape (D,), norm 1.

    Returns:
        A value for each field; -1 and "" stand for what is not known.
    """
    return {
        "path": encode_path(record.path),
        VECTOR: vector,
        "size": record.size,
        "mtime_ns": record.mtime_ns,
        "is_settled": record.is_settled,
        "digest": (record.digest or b"").hex(),
        "width": -1 if record.width is None else record.width,
        "height": -1 if record.height is None else record.height,
        "taken_at": record.taken_at or "",
        "camera": encode_path(record.camera or ""),
        "path_key": path_key(record.path),
        "digest_key": digest_key(record.digest),
    }


def record_of(entity: Mapping[str, Any], number: int) -> ImageRow:
    """Return the record of an image.

    Args:
        entity: Its RECORD_FIELDS, as Milvus gives them.
        number: Its id in a snapshot.

    Returns:
        The record.
    """
    return ImageRow(
        decode_path(entity["path"]),
        size=entity["size"],
        mtime_ns=entity["mtime_ns"],
        row=number,
        is_settled=entity["is_settled"],
        digest=bytes.fromhex(entity["digest"]) or None,
        width=None if entity["width"] < 0 else entity["width"],
        height=None if entity["height"] < 0 else entity["height"],
        taken_at=entity["taken_at"] or None,
        camera=decode_path(entity["camera"]) or None,
    )


def path_key(path: str) -> int:
    """Return a number for a path, evenly spread: slices of such numbers hold about as many."""
    digest = hashlib.sha256(encode_path(path).encode()).digest()
    return int.from_bytes(digest[:8], "big") // 2


def digest_key(digest: bytes | None) -> int:
    """Return the first 8 bytes of a digest as a number, in the same order; the last for none."""
    if digest is None:
        return _KEYS - 1
    return int.from_bytes(digest[:8].ljust(8, b"\0"), "big") // 2


def share_of_keys(share: float) -> int:
    """Return the key that about a share of all keys, 0..1, lies below; of 1 the last key."""
    return min(int(share * _KEYS), _KEYS - 1)


def properties_of(meta: CatalogMeta) -> dict[str, str]:
    """Return the properties of a collection."""
    told = {name: json.dumps(getattr(meta, name)) for name in _TOLD}
    return {f"{_PROPERTY}{name}": value for name, value in {"format": FORMAT, **told}.items()}


def camera_properties(cameras: Iterable[str]) -> dict[str, str]:
    """Return properties that name cameras: one each, so that writers lose none of each other's."""
    return {
        f"{_CAMERA}{hashlib.sha256(encode_path(name).encode()).hexdigest()[:16]}": json.dumps(name)
        for name in cameras
    }


def cameras_of(properties: Mapping[str, str]) -> frozenset[str] | None:
    """Return the cameras that are named, None if there are too many to ask a server for."""
    found = [json.loads(value) for key, value in properties.items() if key.startswith(_CAMERA)]
    return frozenset(found) if len(found) <= MOST_CAMERAS else None


def meta_of(properties: Mapping[str, str], place: str) -> CatalogMeta:
    """Return what the properties of a collection tell of the whole.

    Args:
        properties: As Milvus gives them.
        place: The store's URL, for messages.

    Returns:
        The metadata.

    Raises:
        LibraryError: If the collection is not clipkit's, or a later clipkit's.
    """
    found = properties.get(f"{_PROPERTY}format")
    if found is None:
        raise LibraryError(
            f"the collection at {place} was not made by clipkit: give another name, under which "
            "clipkit makes one of its own"
        )
    if found != FORMAT:
        raise LibraryError(
            f"the collection at {place} is of format {found}, and this clipkit knows {FORMAT}: "
            "update clipkit, or give another name"
        )
    try:
        values = {name: json.loads(properties[f"{_PROPERTY}{name}"]) for name in _TOLD}
        return CatalogMeta(vectors_file="", **values)
    except (KeyError, TypeError, ValueError) as error:
        raise LibraryError(
            f"the properties of the collection at {place} are damaged ({error!r}): build it again "
            f"with  clipkit index FOLDER --store {place} --rebuild"
        ) from error
