"""Opening of TIFF files with Pillow, with tifffile, or not at all, by what their tags say.

Pillow and libtiff read some kinds of TIFF wrongly and without an error: planes as pixels, 12 bits
as 16, predicted values as plain ones. So each file's tags are compared with the kinds that
tests/inputs/test_tiff.py has found right, and only those are left to Pillow.
"""

import contextlib
import logging
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImagePalette, TiffImagePlugin, UnidentifiedImageError

from clipkit.errors import how_to_install
from clipkit.inputs.colors import to_levels
from clipkit.inputs.deferred_image import DeferredImage
from clipkit.inputs.read_errors import UnreadableError

_Tags = TiffImagePlugin.ImageFileDirectory_v2

_NEW_SUBFILE, _SUBFILE, _PHOTOMETRIC, _SUB_IFDS, _INK_SET = 254, 255, 262, 330, 332
_IS_REDUCED, _IS_MASK = 1, 4  # bits of NewSubfileType
_OLD_REDUCED = 2  # value of SubfileType
_MAX_PAGES = 100  # looked through for one that is no thumbnail

_PHOTOMETRICS = {
    0: "white is zero",
    1: "grey",
    2: "RGB",
    3: "palette",
    4: "mask",
    5: "CMYK",
    6: "YCbCr",
    8: "CIELAB",
    9: "ICCLAB",
    10: "ITULAB",
    32803: "a sensor's mosaic",
    32844: "LogL",
    32845: "LogLuv",
    34892: "linear raw",
}
_PLAIN_COMPRESSIONS = {1: "none", 32773: "PackBits"}
_PREDICTING_COMPRESSIONS = {
    5: "LZW", 8: "Deflate", 32946: "Deflate", 34925: "LZMA", 50000: "Zstandard",
}  # fmt: skip
# Their decoders take a limit of their output. JPEG and the like are not among them: their size is
# stated in the compressed data, which tifffile does not check first.
_BOUNDED_COMPRESSIONS = _PLAIN_COMPRESSIONS | _PREDICTING_COMPRESSIONS
_PILLOW_COMPRESSIONS = _BOUNDED_COMPRESSIONS | {
    2: "CCITT RLE", 3: "CCITT G3", 4: "CCITT G4", 6: "old JPEG", 7: "JPEG", 32771: "CCITT RLE",
}  # fmt: skip
_JPEGS = (6, 7)
_COMPRESSIONS = _PILLOW_COMPRESSIONS | {
    33003: "JPEG 2000", 33005: "JPEG 2000", 33007: "JPEG", 34712: "JPEG 2000", 34887: "LERC",
    34892: "lossy JPEG", 34933: "PNG", 34934: "JPEG XR", 22610: "JPEG XR", 50001: "WebP",
    50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip


@dataclass(frozen=True)
class TiffKind:
    """The tags of a page that decide how its pixels are to be read."""

    photometric: int
    bits: tuple[int, ...]  # of each sample, the extra ones included
    sample_format: tuple[int, ...]  # 1 unsigned, 2 signed, 3 floating point
    extra: tuple[int, ...]  # 0 of no meaning, 1 premultiplied alpha, 2 alpha
    is_planar: bool  # one plane after the other, where there are several
    compression: int
    predictor: int  # 1 none

    @classmethod
    def of(cls, tags: _Tags) -> "TiffKind":
        """Return the kind of a page."""
        count = int(tags.get(277, 1))
        formats = _numbers(tags, 339) or (1,)
        bits = _numbers(tags, 258) or (1,)
        return cls(
            photometric=int(tags.get(_PHOTOMETRIC, 0)),
            bits=bits if len(bits) > 1 else bits * min(count, 99),
            sample_format=tuple(sorted(set(formats))),
            extra=_numbers(tags, 338),
            is_planar=int(tags.get(284, 1)) == 2 and count > 1,
            compression=int(tags.get(259, 1)),
            predictor=int(tags.get(317, 1)),
        )

    def __str__(self) -> str:
        name = _PHOTOMETRICS.get(self.photometric, f"colours of kind {self.photometric}")
        formats: dict[tuple[int, ...], str] = {
            (1,): "", (2,): "signed ", (3,): "floating-point ",
        }  # fmt: skip
        samples = formats.get(self.sample_format, "complex or mixed ")
        bits = "/".join(map(str, sorted(set(self.bits))))
        extra = f", {len(self.extra)} extra" if self.extra else ""
        layout = ", one plane after the other" if self.is_planar else ""
        compression = _COMPRESSIONS.get(self.compression, f"number {self.compression}")
        return (
            f"{name} of {len(self.bits)} x {bits} {samples}bits{extra}{layout}, "
            f"compression {compression}"
        )

    @property
    def is_read_by_pillow(self) -> bool:
        """Whether Pillow reads it rightly, or raises an error."""
        bits, photometric = self.bits[0], self.photometric
        if set(self.bits) != {bits} or self.compression not in _PILLOW_COMPRESSIONS:
            return False
        if self.predictor != 1 and self.compression not in _PREDICTING_COMPRESSIONS:
            return False
        if self.compression in _JPEGS and (bits != 8 or photometric == 8):
            return False
        if self.sample_format == (3,):
            return photometric == 1 and self.bits == (32,) and self.predictor == 1
        if self.sample_format != (1,):
            return False
        if photometric in (0, 1, 3) and len(self.bits) == 1:
            return bits in (1, 2, 4, 8) or (bits == 16 and photometric != 3)
        if photometric in (2, 5):
            is_packed = self.compression != 1
            if self.is_planar and not is_packed and self.alpha == 1:
                return False
            return bits == 8 or (bits == 16 and (is_packed or not self.is_planar))
        if bits != 8 or self.is_planar:
            return False
        return photometric in (1, 3, 8) or (photometric == 6 and self.compression in _JPEGS)

    @property
    def is_read_by_tifffile(self) -> bool:
        """Whether clipkit can convert what tifffile reads to RGB."""
        num_colors = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4}.get(self.photometric)
        return (
            num_colors is not None
            and len(self.bits) in (num_colors, num_colors + len(self.extra))
            and len(set(self.bits)) == 1
            and (self.bits[0] > 1 or len(self.bits) == 1)  # programs pack more in two ways
            and self.compression in _BOUNDED_COMPRESSIONS
            and self.sample_format in ((1,), (3,))
            and not (self.photometric == 3 and (self.bits[0] > 16 or self.sample_format != (1,)))
        )

    @property
    def alpha(self) -> int:
        """What the first sample behind the colours is: 1 premultiplied alpha, 2 alpha, else 0."""
        return self.extra[0] if self.extra[:1] in ((1,), (2,)) else 0


def open_tiff(file: BinaryIO) -> Image.Image:
    """Return the first page that is neither a thumbnail nor a mask; only its tags are read yet.

    Args:
        file: A seekable binary file; the image keeps reading from it.

    Returns:
        The image, however large it says it is.

    Raises:
        UnreadableError: If this kind of TIFF cannot be read; for damaged files Pillow and
            tifffile raise nearly any exception.
    """
    place, tags = _main_page(file)
    kind = TiffKind.of(tags)
    if kind.is_read_by_pillow and len(place) == 1:
        with contextlib.suppress(UnidentifiedImageError):  # of a mixture that it does not know
            return _open_with_pillow(file, place[0], tags)
    if not kind.is_read_by_tifffile or tags.get(_INK_SET, 1) != 1:
        raise UnreadableError(f"is a kind of TIFF that cannot be read here: {kind}")
    return _open_with_tifffile(file, place, tags, kind)


def check_is_read_by_pillow(image: TiffImagePlugin.TiffImageFile) -> None:
    """Refuse an open Pillow image of a kind that Pillow would read wrongly.

    Args:
        image: The image, loaded or not.

    Raises:
        UnreadableError: If it is of such a kind.
    """
    kind = TiffKind.of(image.tag_v2)
    if not kind.is_read_by_pillow:
        raise UnreadableError(
            f"is a kind of TIFF that Pillow cannot read: {kind}; give its path instead"
        )


def _numbers(tags: _Tags, tag: int) -> tuple[int, ...]:
    value = tags.get(tag, ())
    return tuple(map(int, value)) if isinstance(value, tuple) else (int(value),)


# --- which page ---------------------------------------------------------------------------------


def _main_page(file: BinaryIO) -> tuple[tuple[int, ...], _Tags]:
    """Return where the first full page is, (page,) or (page, page below it), and its tags."""
    head = _head(file)
    pages: list[_Tags] = []
    offset, seen = _Tags(head).next, set[int]()
    while offset and offset not in seen and len(pages) < _MAX_PAGES:
        seen.add(offset)
        pages.append(_read_tags(file, head, offset))
        if not _is_secondary(pages[-1]):
            return (len(pages) - 1,), pages[-1]
        offset = pages[-1].next
    for number, page in enumerate(pages):
        for below, offset in enumerate(_numbers(page, _SUB_IFDS)[:_MAX_PAGES]):
            tags = _read_tags(file, head, offset)
            if not _is_secondary(tags):
                return (number, below), tags
    if not pages:
        raise UnreadableError("is damaged or cut off: it is a TIFF without a page")
    return (0,), pages[0]


def _head(file: BinaryIO) -> bytes:
    file.seek(0)
    head = file.read(16)
    if head.startswith(b"MM\0+"):
        raise UnreadableError("is a kind of TIFF that cannot be read here: big-endian BigTIFF")
    return head if head.startswith(b"II+\0") else head[:8]


def _read_tags(file: BinaryIO, head: bytes, offset: int) -> _Tags:
    tags = _Tags(head)
    file.seek(offset)
    tags.load(file)
    return tags


def _is_secondary(tags: _Tags) -> bool:
    """Return whether a page is a thumbnail or a mask of another one."""
    subfile = tags.get(_NEW_SUBFILE, 0)
    is_old_reduced = tags.get(_SUBFILE) == _OLD_REDUCED
    return bool(subfile & (_IS_REDUCED | _IS_MASK)) or is_old_reduced


# --- by Pillow ----------------------------------------------------------------------------------


def _open_with_pillow(file: BinaryIO, page: int, tags: _Tags) -> Image.Image:
    file.seek(0)
    image = Image.open(file, formats=("TIFF",))
    if page:
        image.seek(page)
    colors = _numbers(tags, 320)
    if image.palette is not None and colors and max(colors) < 256:
        # Some programs write 0 to 255 into a colour map, where the format has 0 to 65535.
        image.palette = ImagePalette.raw("RGB;L", bytes(colors))
    return image


# --- by tifffile --------------------------------------------------------------------------------

_ROWS_AT_ONCE = 64
_BYTES_AT_ONCE = 4 << 20  # of the file


def _open_with_tifffile(
    file: BinaryIO, place: tuple[int, ...], tags: _Tags, kind: TiffKind
) -> Image.Image:
    try:
        import imagecodecs  # noqa: F401 - without it tifffile knows no limit for what it unpacks
        import tifffile
    except ImportError as error:
        raise UnreadableError(
            f"is a kind of TIFF that needs an extra ({kind}): {how_to_install('tiff')}"
        ) from error
    _no_logging()
    file.seek(0)
    page: Any = tifffile.TiffFile(file).pages[place[0]]
    for number in place[1:]:
        page = page.pages[number]
    if page.dtype is None or page.imagedepth != 1 or 0 in page.shape:
        raise UnreadableError(f"is a kind of TIFF that cannot be read here: {kind}")
    exif = Image.Exif()
    exif.bigtiff, exif.endian = tags._bigtiff, tags._endian
    exif.load_from_fp(file, page.offset)
    size = (page.imagewidth, page.imagelength)
    return DeferredImage(
        "TIFF", size, lambda: _pixels(page, kind), exif=exif, pixel_cost=_pixel_cost(page, kind)
    )


def _no_logging() -> None:
    """Keep tifffile's warnings of damaged tags off the terminal, unless logging is set up."""
    logger = logging.getLogger("tifffile")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


def _pixel_cost(page: Any, kind: TiffKind) -> int:
    """Return how many RGB pixels, of eight bytes, one pixel takes with its copies, rounded up."""
    samples = int(page.dtype.itemsize) * len(kind.bits)
    # A tile is unpacked whole, however little of it lies in the image.
    area = int(page.imagewidth * page.imagelength)
    segment = int(page.tilewidth * page.tilelength * page.tiledepth) if page.is_tiled else 0
    return 2 + -(-samples * (area + segment) // (8 * area))


def _pixels(page: Any, kind: TiffKind) -> NDArray[np.uint8]:
    values = page.asarray(maxworkers=1, buffersize=_BYTES_AT_ONCE)
    if kind.is_planar:
        values = np.moveaxis(values, 0, -1)
    values = values.reshape(page.imagelength, page.imagewidth, len(kind.bits))
    if kind.photometric == 3:
        shown: NDArray[np.uint8] = _palette(page.colormap)[values[:, :, 0]]
        return shown
    levels = to_levels(values, kind.bits[0])
    rows = range(0, len(levels), _ROWS_AT_ONCE)
    return np.concatenate([_colors(levels[row : row + _ROWS_AT_ONCE], kind) for row in rows])


def _palette(color_map: NDArray[np.uint16]) -> NDArray[np.uint8]:
    scaled = color_map if color_map.max() < 256 else to_levels(color_map, 16)
    return np.ascontiguousarray(scaled.T.astype(np.uint8))


def _colors(levels: NDArray[np.uint8], kind: TiffKind) -> NDArray[np.uint8]:
    """Return RGB or RGBA of some rows of samples."""
    num_colors = 1 if kind.photometric < 2 else levels.shape[2] - len(kind.extra)
    colors = levels[:, :, :num_colors]
    if kind.photometric == 0:
        colors = 255 - colors
    if kind.photometric == 5:
        wide = 255 - colors.astype(np.uint16)
        colors = ((wide[:, :, :3] * wide[:, :, 3:] + 127) // 255).astype(np.uint8)
    if num_colors == 1:
        colors = np.repeat(colors, 3, axis=2)
    if not kind.alpha:
        return colors
    alpha = levels[:, :, num_colors : num_colors + 1]
    if kind.alpha == 2:
        return np.concatenate([colors, alpha], axis=2)
    on_white: NDArray[np.uint8] = (255 - np.maximum(alpha, colors)) + colors
    return on_white
