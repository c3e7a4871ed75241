"""Files that a camera or a program made of one shot, to be kept together: no copies of each other.

A RAW file and the JPEG beside it, the HEIC and the JPEG of a Live Photo, a RAW file and what was
exported from it: each holds what the other does not.
"""

import re
from pathlib import PurePosixPath

from clipkit.inputs.raw import RAW_EXTENSIONS
from clipkit.search.duplicates.files import PictureFile

_HEIF_EXTENSIONS = frozenset({".heic", ".heif", ".hif"})
_JPEG_EXTENSIONS = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})


def are_companions(first: PictureFile, second: PictureFile) -> bool:
    """Return whether two files are of one shot and belong together.

    One must be a RAW file and the other in another format, or one HEIC and the other JPEG. Their
    names must begin alike: IMG_1.CR2 goes with IMG_1.jpg, IMG_1.CR2.jpg, IMG_1-edited.jpg and
    IMG_1_01.jpg, not with IMG_10.jpg. They must have been taken in the same second; where one of
    them does not say when, they must lie in one folder.

    Args:
        first: A file.
        second: Another.

    Returns:
        Whether they are.
    """
    paths = PurePosixPath(first.path), PurePosixPath(second.path)
    kinds = {path.suffix.lower() for path in paths}
    if len(kinds) == 1 or not (kinds & RAW_EXTENSIONS or _is_heif_and_jpeg(kinds)):
        return False
    stems = sorted((path.stem.casefold() for path in paths), key=len)
    if not re.fullmatch(re.escape(stems[0]) + r"([^0-9a-z].*)?", stems[1]):
        return False
    if first.taken_at and second.taken_at:
        return first.taken_at == second.taken_at
    return paths[0].parent == paths[1].parent


def _is_heif_and_jpeg(kinds: set[str]) -> bool:
    return bool(kinds & _HEIF_EXTENSIONS) and bool(kinds & _JPEG_EXTENSIONS)
