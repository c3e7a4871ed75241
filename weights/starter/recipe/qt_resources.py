"""Files inside Qt's compiled resource archives (.rcc), which GCompris keeps its pictures in."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from recipe.packages import RecipeError

_IS_COMPRESSED = 1
_IS_FOLDER = 2
_IS_ZSTANDARD = 4


def read_resources(file: Path) -> dict[str, bytes]:
    """Return the archive's files by path.

    Raises:
        RecipeError: If the file is no such archive or uses Zstandard.

    Source:
        The format is written by Qt's rcc tool (src/tools/rcc/rcc.cpp): a header with the offsets
        of tree, data and names, all numbers big-endian.
    """
    data = file.read_bytes()
    if data[:4] != b"qres":
        raise RecipeError(f"{file} is no Qt resource archive: it does not start with 'qres'")
    version, tree, contents, names = struct.unpack(">IIII", data[4:20])
    node_size = 22 if version >= 2 else 14
    found: dict[str, bytes] = {}
    waiting = [(0, "")]
    while waiting:
        number, parent = waiting.pop()
        node = data[tree + number * node_size :][:node_size]
        name_offset, flags, first, second = struct.unpack(">IHII", node[:14])
        path = parent + "/" + _name(data, names + name_offset) if number else ""
        if flags & _IS_FOLDER:
            waiting.extend((second + child, path) for child in range(first))
        else:
            if flags & _IS_ZSTANDARD:
                raise RecipeError(f"{path} in {file} is compressed with Zstandard")
            found[path.lstrip("/")] = _contents(data, contents + second, flags)
    return found


def _name(data: bytes, offset: int) -> str:
    (length,) = struct.unpack(">H", data[offset : offset + 2])
    start = offset + 6  # a hash of four bytes stands between length and letters
    return data[start : start + 2 * length].decode("utf-16-be")


def _contents(data: bytes, offset: int, flags: int) -> bytes:
    (size,) = struct.unpack(">I", data[offset : offset + 4])
    stored = data[offset + 4 : offset + 4 + size]
    # Qt's compressed data starts with the unpacked size in four bytes.
    return zlib.decompress(stored[4:]) if flags & _IS_COMPRESSED else stored
