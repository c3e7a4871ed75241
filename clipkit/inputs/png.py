"""The chunks of a PNG file, and the file without text chunks that are too long for Pillow.

Image generators write whole workflows into their images, some programs colour profiles of
megabytes. Pillow refuses such files; how much it takes could be changed only for the whole process.
"""

import io
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from PIL import PngImagePlugin

_MAX_CHUNKS = 1_000_000  # half a second, and 8 GB of pixels as most write them
_MAX_TEXT_BYTES = 32 << 20  # bytes of all texts that are kept; Pillow takes 64 MiB

_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")


class PngChunk(NamedTuple):
    """Where a chunk of a PNG file is."""

    kind: bytes  # four letters
    start: int  # of its data, bytes from the start of the file
    length: int  # of its data, bytes


def png_chunks(file: BinaryIO) -> Iterator[PngChunk]:
    """Yield the chunks of a PNG as far as their headers can be read, at most a million.

    Args:
        file: A seekable binary file; it may be moved between two chunks.

    Yields:
        The chunks. What they state may lie behind the end of the file.
    """
    position = 8
    for _ in range(_MAX_CHUNKS):
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            return
        chunk = PngChunk(head[4:], position + 8, int.from_bytes(head[:4], "big"))
        yield chunk
        position = chunk.start + chunk.length + 4  # its checksum


def without_long_texts(file: BinaryIO) -> BinaryIO:
    """Return a PNG's file without the texts and colour profiles that Pillow would refuse.

    Args:
        file: A seekable binary file.

    Returns:
        The file itself, at its start, if there are none; else a view of it.
    """
    parts: list[tuple[int, int]] = []  # from, to: what is kept of the file
    end, kept = 0, 0
    for chunk in png_chunks(file):
        if chunk.kind not in _TEXT_CHUNKS:
            continue
        length = _text_length(file, chunk)
        kept += length
        if length > PngImagePlugin.MAX_TEXT_CHUNK or kept > _MAX_TEXT_BYTES:
            kept -= length
            parts.append((end, chunk.start - 8))
            end = chunk.start + chunk.length + 4
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if not end:
        return file
    return io.BufferedReader(_Parts(file, [*parts, (min(end, size), size)]))


def _text_length(file: BinaryIO, chunk: PngChunk) -> int:
    """Return how long a text is unpacked, or a length that is too long."""
    limit = PngImagePlugin.MAX_TEXT_CHUNK
    if chunk.kind == b"tEXt" or chunk.length > limit:
        return chunk.length
    file.seek(chunk.start)
    data = file.read(chunk.length)
    rest = data.partition(b"\0")[2]
    if chunk.kind == b"iTXt":
        if rest[:1] == b"\0":  # not packed
            return chunk.length
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    else:
        rest = rest[1:]
    try:
        return len(zlib.decompressobj().decompress(rest, limit + 1))
    except zlib.error:
        return chunk.length


class _Parts(io.RawIOBase):
    """Parts of a file, one after the other, as a file."""

    def __init__(self, file: BinaryIO, parts: list[tuple[int, int]]) -> None:
        self._file = file
        self._parts = parts
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        size = sum(end - start for start, end in self._parts)
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        place = self._position
        for start, end in self._parts:
            if place < end - start:
                self._file.seek(start + place)
                data = self._file.read(min(len(buffer), end - start - place))
                buffer[: len(data)] = data
                self._position += len(data)
                return len(data)
            place -= end - start
        return 0
