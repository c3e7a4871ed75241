"""Decoding of image files to upright RGB pixels, of JPEGs no larger than needed.

Sizes are (width, height) in pixels. Pillow does the decoding; what it leaves to its callers is
here: scaled decoding, EXIF orientation, and the state that it shares between threads.
"""

import re
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import BinaryIO

from PIL import ExifTags, Image, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError

from clipkit.errors import how_to_install
from clipkit.inputs.animation import first_frame
from clipkit.inputs.colors import to_rgb
from clipkit.inputs.jpegxl import open_jpegxl
from clipkit.inputs.memory_budget import BYTES_PER_PIXEL, Reserve, check_size
from clipkit.inputs.png import without_long_texts
from clipkit.inputs.read_errors import UnreadableError, file_format, unread_jpeg_kind
from clipkit.inputs.safe_open import HeaderReader, check_read_whole
from clipkit.inputs.tiff import check_is_read_by_pillow, open_tiff
from clipkit.inputs.truncated import load_truncated

Size = tuple[int, int]
"""(width, height) in pixels."""

Box = tuple[float, float, float, float]
"""(left, top, right, bottom) in pixels; a border may lie inside a pixel."""

Target = Size | Callable[[Size], Size]
"""What an image will be resized to, or a function from its full upright size to that."""


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """One image, upright and in RGB, possibly smaller than its file says."""

    pixels: Image.Image  # mode RGB
    size: Size  # (width, height) of the full upright image, however much was decoded
    # The part of pixels that the image fills; None: all. When a scaled decode of a size that
    # does not divide evenly ends with a column or row, the image fills only a part of it.
    box: Box | None = None
    # The share of its pixels that its file lacks, 0 to 1; None: the file is whole.
    missing_share: float | None = None


@dataclass(frozen=True)
class DecodeOptions:
    """How an image is to be decoded."""

    max_pixels: int
    target: Target | None = None  # None: decode in full
    reserve: Reserve = lambda _: None  # called before memory is allocated
    orientation: int = 1  # EXIF orientation of an image that does not state its own
    ending: str = ""  # of the file's name, in lower case with its dot, where it has one


def decode_file(file: BinaryIO, options: DecodeOptions) -> DecodedImage:
    """Return the first image in an open file.

    JPEGs are decoded at 1/2, 1/4 or 1/8 when that leaves at least twice the target on both sides.
    Raises UnreadableError for an image that is too large or cannot be converted to RGB; for
    damaged files Pillow raises nearly any exception.

    Args:
        file: A seekable binary file at any position; it is left open.
        options: The limit, the target and other settings.

    Returns:
        The image.
    """
    try:
        return _decode(open_image(file, options.ending), options)
    except UnreadableError:
        raise
    except Exception as error:
        reason = unread_jpeg_kind(file) if file_format(read_head(file)) == "JPEG" else None
        if reason is None:
            raise
        raise UnreadableError(reason) from error


def _decode(image: Image.Image, options: DecodeOptions) -> DecodedImage:
    full, filled = image.size, None
    if options.target is not None and isinstance(image, JpegImagePlugin.JpegImageFile):
        filled = _scale_down(image, options.target, _orientation(image, options.orientation))
    options.reserve(BYTES_PER_PIXEL * check_size(image, full, options.max_pixels))
    decoded = _upright(image, options.orientation)
    if filled is None:
        return decoded
    orientation = _orientation(image, options.orientation)
    box = _upright_box(filled, decoded.size, orientation)
    return replace(decoded, size=upright_size(full, orientation), box=box)


def decode_image(image: Image.Image, options: DecodeOptions) -> DecodedImage:
    """Return a Pillow image upright and in RGB; the image itself is at most loaded.

    Raises what decode_file raises.

    Args:
        image: Any Pillow image, loaded or not.
        options: The limit; the target is not used.

    Returns:
        The image.
    """
    with _pillow_globals:
        _quiet_pillow()
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        check_is_read_by_pillow(image)
    check_size(image, image.size, options.max_pixels)
    return _upright(image, options.orientation)


def _upright(image: Image.Image, unstated: int) -> DecodedImage:
    missing_share = _load(image)
    pixels = to_rgb(image)
    # After loading: PNG keeps EXIF data behind the pixels, and TIFF turns itself while it loads.
    orientation = _orientation(image, unstated)
    if orientation in _TRANSPOSES:
        pixels = pixels.transpose(_TRANSPOSES[orientation])
    return DecodedImage(pixels, size=pixels.size, missing_share=missing_share)


# --- the state Pillow shares between threads --------------------------------------------------

# Pillow knows the common ones without importing its forty plugins. Left out on purpose: EPS, which
# starts Ghostscript; and ICO, whose real size shows only while it is decoded.
_COMMON_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM")
_OTHER_FORMATS = ("WEBP", "AVIF", "JPEG2000", "QOI", "DIB")
# It has no signature and takes any bytes for an image, so it counts by its ending alone.
_TGA_ENDINGS = (".tga",)

_pillow_globals = threading.Lock()

# Damaged metadata make Pillow warn, though the pixels are fine. warnings.catch_warnings swaps the
# filters of the whole process, so with threads it can leave the wrong ones behind; one filter
# that concerns nothing but Pillow's own readers cannot.
_QUIET = ("ignore", None, UserWarning, re.compile(r"PIL\.(Image|\w+ImagePlugin)$"), 0)


def _quiet_pillow() -> None:
    if not warnings.filters or warnings.filters[0] != _QUIET:
        warnings.filterwarnings("ignore", category=UserWarning, module=_QUIET[3].pattern)


def open_image(file: BinaryIO, ending: str = "") -> Image.Image:
    """Return an image of which only the header has been read.

    Args:
        file: A seekable binary file at any position; the image keeps reading from it.
        ending: Of its name, in lower case with its dot; it counts where the bytes do not tell.

    Returns:
        The image, however large it says it is.

    Raises:
        UnreadableError: If it is too large for its format, or an extra is missing; for damaged
            files Pillow raises nearly any exception.
    """
    with _pillow_globals:
        _quiet_pillow()
        # Pillow's own limit knows nothing of scaled decoding: check_size replaces it.
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return _open(file, ending)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _open(file: BinaryIO, ending: str) -> Image.Image:
    kind = file_format(read_head(file))
    if kind == "HEIC":
        return _open_heif(file)
    if kind == "JPEG XL":
        return open_jpegxl(file)
    if kind in ("WebP", "AVIF"):  # Pillow's readers take all of the file into memory
        check_read_whole(file)
    reader = HeaderReader(without_long_texts(file) if kind == "PNG" else file)
    if kind == "TIFF":
        image = open_tiff(reader)  # type: ignore[arg-type]
    elif kind is None and ending in _TGA_ENDINGS:
        image = Image.open(reader, formats=["TGA"])
    else:
        image = _open_with_pillow(reader)
    reader.reads_left = float("inf")
    return first_frame(image, file)


def _open_with_pillow(reader: HeaderReader) -> Image.Image:
    try:
        return Image.open(reader, formats=_COMMON_FORMATS)
    except UnidentifiedImageError:
        Image.init()
        formats = [name for name in _OTHER_FORMATS if name in Image.OPEN]
        return Image.open(reader, formats=formats)


def _open_heif(file: BinaryIO) -> Image.Image:
    try:
        import pillow_heif
    except ImportError as error:
        raise UnreadableError(f"is a HEIC image: {how_to_install('heif')}") from error
    check_read_whole(file)
    # The class itself: registering it would change Pillow for the whole process.
    reader: Callable[[BinaryIO], Image.Image] = pillow_heif.HeifImageFile
    return reader(file)


def read_head(file: BinaryIO) -> bytes:
    """Return the first bytes of a seekable file, which is left at its start."""
    file.seek(0)
    head = file.read(64)
    file.seek(0)
    return head


def _load(image: Image.Image) -> float | None:
    """Load an image; return the share of its pixels that its file lacks, None if it is whole."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is None or image.width * image.height <= limit:
        return _load_within_limit(image)
    # Some readers look at Pillow's limit again while they load; such images are rare.
    with _pillow_globals:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return _load_within_limit(image)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _load_within_limit(image: Image.Image) -> float | None:
    try:
        image.load()
    except OSError as error:
        return load_truncated(image, error)
    return None


# --- scaled decoding and orientation ----------------------------------------------------------

_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# The same turns as: swap x and y, and then mirror x or y.
_SWAPS = (5, 6, 7, 8)
_MIRRORS_X = (2, 3, 6, 7)
_MIRRORS_Y = (3, 4, 7, 8)


def _orientation(image: Image.Image, unstated: int) -> int:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # noqa: BLE001 - damaged EXIF data of any kind say nothing about the pixels
        return unstated
    return orientation if isinstance(orientation, int) else unstated


def _scale_down(
    image: JpegImagePlugin.JpegImageFile, target: Target, orientation: int
) -> tuple[float, float] | None:
    """Set the decoder's scale; return the width and height it will fill, None if all of it."""
    wanted = target(upright_size(image.size, orientation)) if callable(target) else target
    width, height = upright_size(wanted, orientation)
    drafted = image.draft(None, (2 * max(1, width), 2 * max(1, height)))
    return None if drafted is None else drafted[1][2:]


def upright_size(size: Size, orientation: int) -> Size:
    """Return the upright size of an image with an EXIF orientation."""
    return (size[1], size[0]) if orientation in _SWAPS else size


def _upright_box(filled: tuple[float, float], upright: Size, orientation: int) -> Box:
    right, bottom = (filled[1], filled[0]) if orientation in _SWAPS else filled
    left, top = 0.0, 0.0
    if orientation in _MIRRORS_X:
        left, right = upright[0] - right, float(upright[0])
    if orientation in _MIRRORS_Y:
        top, bottom = upright[1] - bottom, float(upright[1])
    return left, top, right, bottom
