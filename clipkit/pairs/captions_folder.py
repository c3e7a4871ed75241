"""A folder of pictures, each with its captions in a file of the same name beside it.

``boat.jpg`` has its captions in ``boat.txt``, one a line, or in ``boat.json``; the ending may be in
upper case.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from clipkit.errors import ImageReadError
from clipkit.inputs.folders import FolderScan
from clipkit.pairs.captions import CAPTION_SUFFIXES, read_captions
from clipkit.pairs.listed_pairs import ListedPairs


def open_captions_folder(folder: Path, scan: FolderScan) -> ListedPairs:
    """Return the pictures of a folder, and of the folders in it, with their captions.

    Args:
        folder: Where they are.
        scan: What find_images saw in it.

    Returns:
        Pairs in the order of their paths. A picture without captions and captions without a
        picture are listed as skipped.
    """
    skipped = [ImageReadError(folder / error.path, error.reason) for error in scan.skipped]

    def pairs() -> Iterator[tuple[str, tuple[str, ...]]]:
        for entry in scan.entries:
            try:
                yield entry.path, _captions_beside(folder / entry.path)
            except ValueError as error:
                skipped.append(ImageReadError(folder / entry.path, str(error)))

    found = ListedPairs(folder, pairs(), skipped=skipped)
    for path in _captions_alone(folder, scan):
        skipped.append(ImageReadError(folder / path, "there is no picture of this name"))
    return found


def has_captions(folder: Path, scan: FolderScan) -> bool:
    """Return whether any picture of a folder has a caption file beside it."""
    return any(_caption_file(folder / entry.path) for entry in scan.entries)


def _captions_beside(picture: Path) -> tuple[str, ...]:
    """Return a picture's captions, or raise ValueError with the reason why there are none."""
    file = _caption_file(picture)
    if file is None:
        names = " or ".join(picture.with_suffix(suffix).name for suffix in CAPTION_SUFFIXES)
        raise ValueError(f"has no captions: there is no {names} beside it")
    try:
        captions = read_captions(file.read_bytes(), file.suffix.lower())
    except OSError as error:
        raise ValueError(f"{file.name} cannot be opened: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{file.name} {error}") from error
    if not captions:
        raise ValueError(f"{file.name} holds no caption")
    return captions


def _caption_file(picture: Path) -> Path | None:
    # os.path, for a folder may have a million pictures.
    stem = os.path.splitext(picture)[0]  # noqa: PTH122
    # DOS and some cameras write names in upper case, which most systems but not all take for equal.
    for suffix in CAPTION_SUFFIXES:
        for file in (stem + suffix, stem + suffix.upper()):
            if os.path.isfile(file):  # noqa: PTH113
                return Path(file)
    return None


def _captions_alone(folder: Path, scan: FolderScan) -> list[str]:
    """Return the caption files without a picture beside them, relative to the folder."""
    # Pictures that cannot be taken are told of themselves; so are folders left out.
    left_out = {item.path for item in scan.left_out}
    pictures = {*(entry.path for entry in scan.entries), *(error.path for error in scan.skipped)}
    stems = {os.path.splitext(path)[0] for path in pictures | left_out}  # noqa: PTH122 - a million
    alone = []
    for place, folders, files in os.walk(folder):
        below = Path(place).relative_to(folder).as_posix() + "/"
        below = "" if below == "./" else below
        folders[:] = [name for name in folders if below + name not in left_out]
        for name in files:
            stem, suffix = os.path.splitext(below + name)  # noqa: PTH122
            if suffix.lower() in CAPTION_SUFFIXES and name[0] != "." and stem not in stems:
                alone.append(below + name)
    return sorted(alone)
