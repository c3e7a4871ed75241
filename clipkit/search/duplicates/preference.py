"""The order of preference among copies of one image: which one to keep."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from clipkit.errors import ImageReadError
from clipkit.inputs.image_quality import colorfulness, real_size
from clipkit.inputs.metadata import Provenance, read_provenance
from clipkit.search.store.records import ImageFile

_GREY_SHARE = 0.25  # of the colours of the most colourful copy; with less, a copy counts as grey
_MUCH_SMALLER = 0.6  # times the width and the height
_GREY_LEVELS = 1.0  # where the most colourful copy has less, none is grey


class Merits(NamedTuple):
    """Properties that tell an original from its copies, read from the opened files."""

    is_colored: bool
    provenance: Provenance
    num_real_pixels: int


_NOT_OPENED = Provenance()


def best_first(
    files: Iterable[ImageFile], merits: Mapping[str, Merits] | None = None
) -> list[ImageFile]:
    """Return copies of one image, the one to keep first.

    This is the order of preference; what comes first decides, the next where that is equal:

    1. a file before a symbolic link, which holds nothing;
    2. colour before grey (or one tint, as sepia), whatever the depth in bits;
    3. a camera's RAW file before what was developed from it;
    4. the file that the camera wrote before one that was saved again: its EXIF data state when and
       with what it was taken, the size that it has, and no later change;
    5. of those, turned by an EXIF tag before turned in its pixels;
    6. more real pixels: an enlarged copy has those of what it was enlarged from, which comes first;
    7. EXIF data before none;
    8. more bytes;
    9. a file with several names (hard links), since removing one of them frees nothing;
    10. the first path.

    Args:
        files: In any order.
        merits: What was seen in the files, by path; None where their bytes are equal, or they have
            not been opened: then 2 to 5 and 7 do not count, and every pixel is real.

    Returns:
        The files in that order.
    """
    known = merits or {}

    def preference(file: ImageFile) -> tuple[object, ...]:
        seen = known.get(file.path)
        source = seen.provenance if seen else _NOT_OPENED
        num_real_pixels = seen.num_real_pixels if seen else file.num_pixels
        return (
            file.is_link,
            not (seen and seen.is_colored),
            not source.is_raw,
            not source.is_from_camera,
            not (source.is_from_camera and source.is_turned_by_tag),
            -num_real_pixels,
            file.num_pixels > num_real_pixels,
            not source.has_exif,
            -file.num_bytes,
            -file.num_names,
            file.path,
        )

    return sorted(files, key=preference)


def read_merits(
    files: Sequence[ImageFile], folder: Path, *, max_pixels: int | None = None
) -> dict[str, Merits]:
    """Return the merits of copies, read from their files.

    Args:
        files: Copies of one image.
        folder: The folder that their paths are relative to.
        max_pixels: How many pixels of one may be decoded. None: default_max_pixels().

    Returns:
        By path; a file that cannot be read counts as the least of them.
    """
    colors = {file.path: _colorfulness(folder / file.path, max_pixels) for file in files}
    most = max(colors.values(), default=0.0)
    merits = {}
    for file in files:
        source = _provenance(folder / file.path)
        size = _real_size(file, files, folder, max_pixels) if not source.is_raw else None
        num_pixels = size[0] * size[1] if size else file.num_pixels
        has_colors = most >= _GREY_LEVELS and colors[file.path] >= _GREY_SHARE * most
        merits[file.path] = Merits(has_colors, source, num_pixels)
    return merits


def _colorfulness(path: Path, max_pixels: int | None) -> float:
    try:
        return colorfulness(path, max_pixels=max_pixels)
    except ImageReadError:
        return 0.0


def _provenance(path: Path) -> Provenance:
    try:
        return read_provenance(path)
    except ImageReadError:
        return Provenance()


def _real_size(
    file: ImageFile, files: Sequence[ImageFile], folder: Path, max_pixels: int | None
) -> tuple[int, int] | None:
    """Return the size that holds all detail of a file, None if no copy is much smaller."""
    if not file.width or not file.height:
        return None
    smaller = [
        (other.width, other.height)
        for other in files
        if other.width
        and other.width <= _MUCH_SMALLER * file.width
        and other.height
        and other.height <= _MUCH_SMALLER * file.height
    ]
    if not smaller:
        return None
    try:
        return real_size(folder / file.path, smaller, max_pixels=max_pixels)
    except ImageReadError:
        return None
