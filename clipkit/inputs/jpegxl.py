"""Opening of JPEG XL files: the header is read here, the pixels are decoded by imagecodecs.

imagecodecs takes memory for an image of any size that a file states, so the size is read first.
The header's bits are those of ISO/IEC 18181-1, of each byte the lowest first.
"""

import contextlib
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from clipkit.errors import how_to_install
from clipkit.inputs.colors import to_levels
from clipkit.inputs.deferred_image import DeferredImage
from clipkit.inputs.read_errors import UnreadableError
from clipkit.inputs.safe_open import check_read_whole

_CODESTREAM = b"\xff\x0a"
_MAX_HEADER_BYTES = 4096
_MAX_EXIF_BYTES = 1 << 20
_MAX_BOXES = 10_000

# Kinds of a number in the header: either a value, or (bits to read, what to add to them).
_SIZES = ((9, 1), (13, 1), (18, 1), (30, 1))
_BIT_DEPTHS = (8, 10, 12, (6, 1))
_FLOAT_DEPTHS = (32, 16, 24, (6, 1))
_CHANNEL_COUNTS = (0, 1, (4, 2), (12, 1))
_ENUM = (0, 1, (4, 2), (6, 18))
_TICKS = ((100, 1000, (10, 1), (30, 1)), (1, 1001, (8, 1), (10, 1)), (0, (3, 0), (16, 0), (32, 0)))
_SHIFTS = (0, 3, 4, (3, 1))
_NAME_LENGTHS = (0, (4, 0), (5, 16), (10, 48))
# In RGB pixels of 8 bytes: measured 8 to 20 bytes, estimated 12 more for a progressive file.
_PIXEL_COST = 5

_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}


@dataclass(frozen=True)
class _Header:
    size: tuple[int, int]  # (width, height), upright
    bits: int  # of a sample


def open_jpegxl(file: BinaryIO) -> Image.Image:
    """Return an image of which only the header has been read.

    Args:
        file: A seekable binary file; the image keeps reading from it.

    Returns:
        The image, however large it says it is. It is upright already.

    Raises:
        UnreadableError: If imagecodecs is missing, or the file is damaged, too large, or of a kind
            that is not understood.
    """
    try:
        import imagecodecs
    except ImportError as error:
        raise UnreadableError(f"is a JPEG XL image: {how_to_install('jxl')}") from error
    check_read_whole(file)
    parts, exif = _read_boxes(file)
    header = _read_header(parts)

    def decode() -> NDArray[np.uint8]:
        file.seek(0)
        values = imagecodecs.jpegxl_decode(file.read(), index=0, numthreads=1)
        levels = to_levels(values, header.bits)
        return _in_colors(levels if levels.ndim == 3 else levels[:, :, None])

    return DeferredImage("JXL", header.size, decode, exif=exif, pixel_cost=_PIXEL_COST)


def _in_colors(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return RGB or RGBA of grey or colours, with alpha or without."""
    if levels.shape[2] > 2:
        return levels
    return np.concatenate([np.repeat(levels[:, :, :1], 3, axis=2), levels[:, :, 1:]], axis=2)


# --- the boxes of the file ----------------------------------------------------------------------


def _read_boxes(file: BinaryIO) -> tuple[bytes, Image.Exif]:
    """Return the start of the codestream, and the EXIF data, which hold no orientation."""
    file.seek(0)
    start = file.read(_MAX_HEADER_BYTES)
    exif = Image.Exif()
    if start.startswith(_CODESTREAM):
        return start, exif
    codestream = b""
    position = 0
    for _ in range(_MAX_BOXES):
        file.seek(position)
        head = file.read(16)
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        length = 16 if size == 1 else 8
        size = int.from_bytes(head[8:16], "big") if size == 1 else size
        if len(head) < 8 or (0 < size < length):
            break
        wanted = _MAX_EXIF_BYTES if kind in (b"Exif", b"brob") else _MAX_HEADER_BYTES
        file.seek(position + length)
        body = file.read(min(wanted, size - length) if size else wanted)
        if kind in (b"jxlc", b"jxlp"):
            codestream += body[4 if kind == b"jxlp" else 0 :]
        _take_exif(kind, body, exif)
        if not size:
            break
        position += size
    return codestream[:_MAX_HEADER_BYTES], exif


def _take_exif(kind: bytes, body: bytes, exif: Image.Exif) -> None:
    """Read EXIF data from a box that holds some, packed or not."""
    with contextlib.suppress(Exception):  # damaged EXIF data of any kind say nothing
        if kind == b"brob" and body.startswith(b"Exif"):
            import imagecodecs

            body = bytes(imagecodecs.brotli_decode(body[4:], out=_MAX_EXIF_BYTES))
        elif kind != b"Exif":
            return
        # Four bytes say how far behind them the TIFF header begins.
        exif.load(b"Exif\0\0" + body[4 + int.from_bytes(body[:4], "big") :])
        # The orientation is in the codestream, and its decoder applies it.
        exif.pop(ExifTags.Base.Orientation, None)


# --- the bits of the codestream -----------------------------------------------------------------


class _Bits:
    """The bits of a header, one number after the other."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "little")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        """Return the number in the next bits."""
        self._left -= count
        if self._left < 0:
            raise UnreadableError("is cut off: it is a JPEG XL image without its header")
        number = self._value & ((1 << count) - 1)
        self._value >>= count
        return number

    def choose(self, kinds: tuple[int | tuple[int, int], ...]) -> int:
        """Return a number of the kind that the next two bits choose."""
        kind = kinds[self.take(2)]
        return kind if isinstance(kind, int) else self.take(kind[0]) + kind[1]


def _read_header(codestream: bytes) -> _Header:
    if not codestream.startswith(_CODESTREAM):
        raise UnreadableError("is damaged or cut off: it is a JPEG XL file without an image")
    bits = _Bits(codestream[2:])
    size = _read_size(bits)
    if bits.take(1):  # all as usual: 8 bits, upright, nothing but colours
        return _Header(size, 8)
    if bits.take(1):
        size = size[::-1] if bits.take(3) >= 4 else size
        if bits.take(1):
            _read_size(bits)  # what the image should be shown at
        if bits.take(1):
            raise _unknown("with a preview")
        if bits.take(1):
            for kinds in _TICKS:
                bits.choose(kinds)
            bits.take(1)
    depth = _read_depth(bits)
    bits.take(1)  # whether 16 bits are enough to compute with
    _check_channels(bits)
    return _Header(size, depth)


def _read_size(bits: _Bits) -> tuple[int, int]:
    """Return (width, height), the second of which is stored first."""
    is_small = bits.take(1)

    def side() -> int:
        return (bits.take(5) + 1) * 8 if is_small else bits.choose(_SIZES)

    height = side()
    ratio = bits.take(3)
    if not ratio:
        return side(), height
    across, down = _RATIOS[ratio]
    return height * across // down, height


def _read_depth(bits: _Bits) -> int:
    if not bits.take(1):
        return bits.choose(_BIT_DEPTHS)
    depth = bits.choose(_FLOAT_DEPTHS)
    bits.take(4)  # of the exponent
    return depth


def _check_channels(bits: _Bits) -> None:
    """Refuse what comes with the colours, other than plain transparency."""
    count = bits.choose(_CHANNEL_COUNTS)
    if count == 0 or (count == 1 and bits.take(1)):  # the second: 8 bits of alpha, as usual
        return
    if count > 1 or bits.choose(_ENUM) != 0:
        raise _unknown("with channels beside its colours")
    _read_depth(bits)
    bits.choose(_SHIFTS)
    bits.take(8 * bits.choose(_NAME_LENGTHS))
    if bits.take(1):
        raise _unknown("with premultiplied alpha")


def _unknown(what: str) -> UnreadableError:
    return UnreadableError(f"is a kind of JPEG XL that cannot be read here: {what}")
