"""Metadata from the header of an image file: size, date taken, camera, and provenance.

No pixels are decoded. Damaged or senseless EXIF data count as absent.
"""

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin

from clipkit.errors import ImageReadError, how_to_install
from clipkit.inputs.date_taken import FIRST_PHOTOGRAPH, date_in_name, date_in_xmp
from clipkit.inputs.decoder import open_image, read_head, upright_size
from clipkit.inputs.extensions import RAW_EXTENSIONS
from clipkit.inputs.png import png_chunks
from clipkit.inputs.raw import ORIENTATIONS
from clipkit.inputs.read_errors import UnreadableError, reason_for
from clipkit.inputs.safe_open import check_read_whole, open_file

_MAX_CAMERA_LENGTH = 100
_MAX_EXIF_BYTES = 1 << 20


@dataclass(frozen=True)
class ImageMetadata:
    """The size of an image, and when and with what it was taken."""

    width: int  # pixels, as a person sees it: after the EXIF orientation
    height: int  # pixels
    # When it was taken, "2024-06-01T12:30:00", as the camera's clock showed it, or "2024-06-01"
    # where only the day is known: by EXIF data, else XMP data, else the file's name. The offset
    # from UTC is left out: few files state one, a person asks for a day where the image was
    # taken, and texts of one form sort by time.
    taken_at: str | None
    camera: str | None  # maker and model, for example "Canon EOS 80D"; at most 100 characters


@dataclass(frozen=True)
class Provenance:
    """How a file was made, by its header; of a RAW file only that it is one."""

    is_raw: bool = False
    has_exif: bool = False  # whether it says when it was taken, or with what
    # Whether it may be the file that the camera wrote, unchanged: it says when and
    # with what it was taken, is as large as the camera made it, and was not changed later.
    is_from_camera: bool = False
    is_turned_by_tag: bool = False  # cameras write an EXIF orientation, programs turn the pixels
    shot_at: str | None = None  # "2024:06:01 12:30:00", as the camera's clock showed it
    shot_at_fraction: str | None = None  # decimals of that second


def read_metadata(path: str | Path) -> ImageMetadata:
    """Return the size of an image, and when and with what it was taken.

    The formats are those of read_image. A RAW file has the size of its sensor's image. A file
    whose header is whole but that is cut off later has metadata.

    Args:
        path: The file.

    Returns:
        The metadata.

    Raises:
        ImageReadError: If the file is missing or is no image.
    """
    path = Path(path)
    head = b""
    try:
        with open_file(path) as file:
            head = read_head(file)
            ending = path.suffix.lower()
            if ending in RAW_EXTENSIONS:
                metadata = _raw_metadata(file)
            else:
                with open_image(file, ending) as image:
                    metadata = _metadata(image, file)
    except Exception as error:  # on damaged files Pillow raises nearly any
        raise ImageReadError(path, reason_for(error, head)) from error
    return replace(metadata, taken_at=metadata.taken_at or date_in_name(path.name))


def read_provenance(path: Path) -> Provenance:
    """Return how a file was made, by its header.

    Args:
        path: The file.

    Returns:
        Its provenance.

    Raises:
        ImageReadError: If the file is missing or is no image.
    """
    if path.suffix.lower() in RAW_EXTENSIONS:
        return Provenance(is_raw=True, has_exif=True, is_from_camera=True)
    head = b""
    try:
        with open_file(path) as file:
            head = read_head(file)
            with open_image(file) as image:
                return _provenance(image)
    except Exception as error:  # on damaged files Pillow raises nearly any
        raise ImageReadError(path, reason_for(error, head)) from error


def _metadata(image: Image.Image, file: BinaryIO) -> ImageMetadata:
    if 0 in image.size:
        raise UnreadableError(f"has no pixels: its size is {image.width} x {image.height}")
    exif = _exif(image, file)
    # Pillow states the size of a TIFF as it is after turning.
    is_turned = isinstance(image, TiffImagePlugin.TiffImageFile)
    size = image.size if is_turned else upright_size(image.size, _orientation(exif))
    taken_at = _taken_at(exif) or date_in_xmp(_xmp(image))
    return ImageMetadata(*size, taken_at=taken_at, camera=_camera(exif))


def _raw_metadata(file: BinaryIO) -> ImageMetadata:
    try:
        import rawpy
    except ImportError as error:
        raise UnreadableError(f"is a camera RAW file: {how_to_install('raw')}") from error
    check_read_whole(file)
    try:
        with rawpy.imread(file) as raw:
            sizes = raw.sizes
            try:
                preview = raw.extract_thumb().data
            except rawpy.LibRawError:
                preview = None
    except rawpy.LibRawError as error:
        raise UnreadableError("is not a RAW file that can be read") from error
    size = upright_size((sizes.width, sizes.height), ORIENTATIONS.get(sizes.flip, 1))
    exif = _preview_exif(preview) if isinstance(preview, bytes) else Image.Exif()
    return ImageMetadata(*size, taken_at=_taken_at(exif), camera=_camera(exif))


def _preview_exif(preview: bytes) -> Image.Exif:
    """Return the EXIF data of a RAW file's preview, from the camera, or else from LibRaw."""
    file = io.BytesIO(preview)
    try:
        with open_image(file) as image:
            return _exif(image, file)
    except Exception:  # noqa: BLE001 - a damaged preview of any kind says nothing
        return Image.Exif()


def _provenance(image: Image.Image) -> Provenance:
    try:
        # The class's own: that of a PNG would decode the pixels to look behind them.
        exif = Image.Image.getexif(image)
        details = exif.get_ifd(ExifTags.IFD.Exif)
    except Exception:  # noqa: BLE001 - damaged EXIF data of any kind say nothing
        return Provenance()
    shot_at = _stated(details.get(ExifTags.Base.DateTimeOriginal))
    changed_at = _stated(exif.get(ExifTags.Base.DateTime))
    camera = _stated(exif.get(ExifTags.Base.Make)) or _stated(exif.get(ExifTags.Base.Model))
    stated = details.get(ExifTags.Base.ExifImageWidth), details.get(ExifTags.Base.ExifImageHeight)
    is_turned = exif.get(ExifTags.Base.Orientation, 1) in range(2, 9)
    return Provenance(
        has_exif=bool(shot_at or camera),
        is_from_camera=bool(
            shot_at and camera and stated == image.size and changed_at in (None, shot_at)
        ),
        is_turned_by_tag=is_turned,
        shot_at=shot_at,
        shot_at_fraction=_stated(details.get(ExifTags.Base.SubsecTimeOriginal)),
    )


def _stated(value: object) -> str | None:
    text = str(value).partition("\0")[0].strip() if isinstance(value, str) else ""
    return text if any(letter not in "0: " for letter in text) else None


# --- EXIF data ----------------------------------------------------------------------------------


def _exif(image: Image.Image, file: BinaryIO) -> Image.Exif:
    if isinstance(image, PngImagePlugin.PngImageFile) and "exif" not in image.info:
        # Pillow would decode the image to reach a chunk behind its pixels.
        chunk = _exif_chunk(file)
        if chunk is not None:
            image.info["exif"] = chunk
    try:
        return Image.Image.getexif(image)
    except Exception:  # noqa: BLE001 - damaged EXIF data of any kind say nothing
        return Image.Exif()


def _xmp(image: Image.Image) -> bytes | str:
    """Return an image's XMP data, empty if it has none."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        packet = _value(image.tag_v2, _XMP_TAG)
    else:
        packet = image.info.get("xmp")
    return packet if isinstance(packet, bytes | str) else b""


_XMP_TAG = 700


def _exif_chunk(file: BinaryIO) -> bytes | None:
    """Return a PNG's eXIf chunk, wherever it is."""
    for chunk in png_chunks(file):
        if chunk.kind == b"eXIf":
            file.seek(chunk.start)
            return file.read(min(chunk.length, _MAX_EXIF_BYTES))
    return None


def _orientation(exif: Image.Exif) -> int:
    orientation = _value(exif, ExifTags.Base.Orientation)
    return orientation if isinstance(orientation, int) else 1


def _taken_at(exif: Image.Exif) -> str | None:
    try:
        details = exif.get_ifd(ExifTags.IFD.Exif)
    except Exception:  # noqa: BLE001 - as above
        details = {}
    stated = (
        _value(details, ExifTags.Base.DateTimeOriginal),
        _value(details, ExifTags.Base.DateTimeDigitized),
        _value(exif, ExifTags.Base.DateTime),
    )
    return next((time for time in map(_time, stated) if time), None)


def _time(value: object) -> str | None:
    match = _DATE_AND_TIME.match(_text(value))
    if match is None:
        return None
    try:
        time = datetime(*map(int, match.groups()))  # type: ignore[arg-type]
    except ValueError:
        return None
    return time.isoformat() if time.year >= FIRST_PHOTOGRAPH else None


# With : between the parts of the date as EXIF asks, or as other programs write it.
_DATE_AND_TIME = re.compile(
    r"([0-9]{4})[:/.-]([0-9]{2})[:/.-]([0-9]{2})[ T]([0-9]{2}):([0-9]{2}):([0-9]{2})"
)


def _camera(exif: Image.Exif) -> str | None:
    make = _text(_value(exif, ExifTags.Base.Make))
    model = _text(_value(exif, ExifTags.Base.Model))
    # "NIKON CORPORATION" makes the "NIKON D90".
    repeats = bool(make) and model.lower().startswith(make.lower().split()[0])
    name = model if repeats else f"{make} {model}"
    return name.strip()[:_MAX_CAMERA_LENGTH].rstrip() or None


def _text(value: object) -> str:
    """Return a text up to its first null, with single spaces and nothing that moves a cursor."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")  # as Pillow does with what is marked as text
    if not isinstance(value, str):
        return ""
    text = value.partition("\0")[0][:1000]
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _value(tags: Image.Exif | Mapping[int, Any], tag: int) -> Any:
    read: Callable[[int], Any] = tags.get
    try:
        return read(tag)
    except Exception:  # noqa: BLE001 - as above
        return None
