"""A folder of images, each with its captions in a file of the same name.

``boat.jpg`` has its captions in ``boat.txt`` or ``boat.caption``, one a line, or in ``boat.json``;
the ending may be in upper case. They lie beside the image, or at the same place in a folder of
captions: ``images/trip/boat.jpg`` and ``captions/trip/boat.txt``.
"""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from clipkit.errors import ImageReadError
from clipkit.inputs.folders import FolderScan
from clipkit.pairs.captions import CAPTION_SUFFIXES, CaptionFile, choose_captions
from clipkit.pairs.layout import Say, any_of, list_some
from clipkit.pairs.listed_pairs import ListedPairs


class CaptionPlace(NamedTuple):
    """Where the captions of images are."""

    folder: Path  # the captions of images/trip/boat.jpg are in its trip/
    suffixes: Sequence[str] = CAPTION_SUFFIXES  # in lower case


def open_captions_folder(
    folder: Path, scan: FolderScan, captions: CaptionPlace, *, say: Say
) -> ListedPairs:
    """Return the images of a folder, and of the folders in it, with their captions.

    Args:
        folder: Where they are.
        scan: What find_images saw in it.
        captions: Where their captions are.
        say: Is told of links, and of caption files that were passed over.

    Returns:
        Pairs in the order of their paths; an image that has several paths is one pair, with the
        captions of all of them. An image without captions and captions without an image are
        listed as skipped.
    """
    skipped = [ImageReadError(folder / error.path, error.reason) for error in scan.skipped]
    others = scan.other_paths
    passed_over: list[str] = []

    def pairs() -> Iterator[tuple[str, tuple[str, ...]]]:
        for path in (entry.path for entry in scan.entries):
            try:
                files = [_caption_files(captions, name) for name in (path, *others.get(path, ()))]
                texts, reasons = _joined(files)
            except ValueError as error:
                reason = str(error) or _no_captions(captions, folder, path)
                skipped.append(ImageReadError(folder / path, reason))
                continue
            passed_over.extend(reasons)
            yield path, texts

    found = ListedPairs(folder, pairs(), skipped=skipped)
    for path in _captions_alone(captions, scan):
        skipped.append(ImageReadError(captions.folder / path, "there is no picture of this name"))
    if others:
        say(
            f"{folder}: {len(others)} images have other paths, by links; each is one pair with the "
            "captions of all: "
            + list_some(f"{path} = {names[0]}" for path, names in others.items())
        )
    if passed_over:
        say(
            f"warning: {folder}: {len(passed_over)} caption files hold no caption, so another of "
            f"the same name was read: {list_some(passed_over)}"
        )
    return found


def has_captions(scan: FolderScan, captions: CaptionPlace) -> bool:
    """Return whether any image of a folder has a caption file."""
    paths = (*(entry.path for entry in scan.entries), *(item.path for item in scan.left_out))
    return any(any(_caption_files(captions, path)) for path in paths)


def _joined(candidates: Sequence[Iterator[CaptionFile]]) -> tuple[tuple[str, ...], list[str]]:
    """Return the captions that the paths of one image have, and what was passed over.

    If none has any, it raises ValueError with a reason, which is empty if there is no file.
    """
    captions: dict[str, None] = {}
    reasons: list[str] = []
    for files in candidates:
        try:
            texts, passed_over = choose_captions(files)
        except ValueError as error:
            reasons += [str(error)] if str(error) else []
        else:
            captions |= dict.fromkeys(texts)
            reasons += passed_over
    if not captions:
        raise ValueError(", ".join(reasons))
    return tuple(captions), reasons


def _no_captions(captions: CaptionPlace, folder: Path, path: str) -> str:
    stem = os.path.splitext(path)[0]  # noqa: PTH122
    if captions.folder == folder:
        names, where = stem.rpartition("/")[2], "beside it"
    else:
        names, where = stem, f"in {captions.folder}"
    listed = any_of([f"{names}{suffix}" for suffix in captions.suffixes])
    return f"has no captions: there is no {listed} {where}"


def _caption_files(captions: CaptionPlace, path: str) -> Iterator[CaptionFile]:
    """Yield the caption files of an image, those to be preferred first."""
    # os.path, for a folder may have a million images.
    stem = os.path.splitext(os.path.join(captions.folder, path))[0]  # noqa: PTH118, PTH122
    for suffix in captions.suffixes:
        # DOS and some cameras write names in upper case, which most systems but not all take for
        # equal.
        for file in (stem + suffix, stem + suffix.upper()):
            if os.path.isfile(file):  # noqa: PTH113
                yield CaptionFile(os.path.basename(file), suffix, partial(_read, file))  # noqa: PTH119
                break


def _read(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be opened: {error.strerror}") from error


def _captions_alone(captions: CaptionPlace, scan: FolderScan) -> list[str]:
    """Return the caption files without an image of their name, relative to their folder."""
    # Images that cannot be taken are told of themselves; so are folders left out.
    left_out = {item.path for item in scan.left_out}
    images = {*(entry.path for entry in scan.entries), *(error.path for error in scan.skipped)}
    stems = {os.path.splitext(path)[0] for path in images | left_out}  # noqa: PTH122 - a million
    alone = []
    for place, folders, files in os.walk(captions.folder):
        below = Path(place).relative_to(captions.folder).as_posix() + "/"
        below = "" if below == "./" else below
        folders[:] = [name for name in folders if below + name not in left_out]
        for name in files:
            suffix = next((end for end in captions.suffixes if name.lower().endswith(end)), "")
            if suffix and name[0] != "." and below + name[: -len(suffix)] not in stems:
                alone.append(below + name)
    return sorted(alone)
