"""Where an image file comes from, read from its EXIF data: a camera, or a program that saved it."""

from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image

from clipkit.errors import ImageReadError
from clipkit.inputs.decoder import open_image, read_head
from clipkit.inputs.files import open_file
from clipkit.inputs.raw import RAW_EXTENSIONS
from clipkit.inputs.reasons import reason_for


@dataclass(frozen=True)
class Provenance:
    """What a file says of how it was made; of a RAW file only that it is one."""

    is_raw: bool = False
    has_exif: bool = False  # whether it says when it was taken, or with what
    # Whether nothing speaks against its being the file that the camera wrote: it says when and
    # with what it was taken, is as large as the camera made it, and was not changed later.
    is_from_camera: bool = False
    is_turned_by_tag: bool = False  # as cameras write it; a program turns the pixels
    shot_at: str | None = None  # "2024:06:01 12:30:00", as the camera's clock showed it
    shot_at_fraction: str | None = None  # decimals of that second


def read_provenance(path: Path) -> Provenance:
    """Return what a file says of how it was made.

    Damaged or senseless EXIF data count as absent.

    Args:
        path: The file.

    Returns:
        It.

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


def _provenance(image: Image.Image) -> Provenance:
    try:
        # The class's own: that of a PNG would decode the pixels to look behind them.
        exif = Image.Image.getexif(image)
        details = exif.get_ifd(ExifTags.IFD.Exif)
    except Exception:  # noqa: BLE001 - damaged EXIF data of any kind say nothing
        return Provenance()
    shot_at = _text(details.get(ExifTags.Base.DateTimeOriginal))
    changed_at = _text(exif.get(ExifTags.Base.DateTime))
    camera = _text(exif.get(ExifTags.Base.Make)) or _text(exif.get(ExifTags.Base.Model))
    stated = details.get(ExifTags.Base.ExifImageWidth), details.get(ExifTags.Base.ExifImageHeight)
    is_turned = exif.get(ExifTags.Base.Orientation, 1) in range(2, 9)
    return Provenance(
        has_exif=bool(shot_at or camera),
        is_from_camera=bool(
            shot_at and camera and stated == image.size and changed_at in (None, shot_at)
        ),
        is_turned_by_tag=is_turned,
        shot_at=shot_at,
        shot_at_fraction=_text(details.get(ExifTags.Base.SubsecTimeOriginal)),
    )


def _text(value: object) -> str | None:
    text = str(value).partition("\0")[0].strip() if isinstance(value, str) else ""
    return text if any(letter not in "0: " for letter in text) else None
