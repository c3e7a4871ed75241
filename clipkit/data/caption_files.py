"""Image folders in which each image has its captions in a file of the same name.

``boat.jpg`` has its captions in ``boat.txt`` or ``boat.caption``, one a line, or in ``boat.json``;
the ending may be in upper case. They are beside the image, or under the same path in a folder of
captions: ``images/trip/boat.jpg`` and ``captions/trip/boat.txt``. JSON is a text, a list of texts,
or an object with one of these under "caption", "captions", "title" or "text", as img2dataset and
tools for tagging write it.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from clipkit.data.listed_pairs import ListedPairs
from clipkit.data.pair import any_of, list_some
from clipkit.errors import ImageReadError
from clipkit.inputs.folders import FolderScan
from clipkit.progress import Callbacks

CAPTION_SUFFIXES = (".txt", ".caption", ".json")
"""Endings of caption files in lower case; the first with a caption in it is taken."""

_KEYS = ("caption", "captions", "title", "text")
# A class and at least two points: what YOLO's .txt files hold beside images.
_BOX = re.compile(r"\d+(\s+-?\d*\.?\d+(e-?\d+)?){4,}")


def caption_suffixes(ending: str) -> tuple[str, ...]:
    """Return the endings that caption files may have: the one given, or else the usual ones."""
    return (f".{ending.lower().lstrip('.')}",) if ending else CAPTION_SUFFIXES


class CaptionFile(NamedTuple):
    """A file that may hold the captions of an image."""

    name: str  # for messages
    suffix: str  # in lower case
    read: Callable[[], bytes]  # raises ValueError with a reason


def choose_captions(files: Iterable[CaptionFile]) -> tuple[tuple[str, ...], list[str]]:
    """Return the captions of the first file that holds any, and why those before it hold none.

    An empty or damaged .txt does not hide a good .json.

    Args:
        files: Of one image, in order of preference.

    Returns:
        Captions, at least one, and reasons.

    Raises:
        ValueError: If none holds any; the message is a reason. It is empty if there is no file.
    """
    skipped_files: list[str] = []
    for file in files:
        try:
            captions = read_captions(file.read(), file.suffix)
        except ValueError as error:
            skipped_files.append(f"{file.name} {error}")
            continue
        if captions:
            return captions, skipped_files
        skipped_files.append(f"{file.name} holds no caption")
    raise ValueError(", ".join(skipped_files))


def read_captions(content: bytes, suffix: str) -> tuple[str, ...]:
    """Return the captions in a file.

    Args:
        content: The file.
        suffix: Ends in ".json", or in anything else for a caption in each line.

    Returns:
        Different texts, as captions_of returns them; none if the file holds none.

    Raises:
        ValueError: If it is not UTF-8, not JSON of the kinds above, or holds boxes of an object
            detector; the message is a reason.
    """
    text = decode_text(content)
    if not suffix.endswith(".json"):
        captions = captions_of(re.split(r"[\r\n]+", text))
        if captions and all(map(_BOX.fullmatch, captions)):
            raise ValueError("holds boxes or outlines for an object detector, no caption")
        return captions
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from error
    return captions_of(value)


def decode_text(content: bytes) -> str:
    """Return a text in UTF-8, or in UTF-16 if it starts with the mark of that.

    Args:
        content: The bytes of a file.

    Returns:
        The text, without a mark.

    Raises:
        ValueError: If it is neither; the message is a reason.
    """
    is_wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        return content.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-{'16' if is_wide else '8'}") from error


def captions_of(value: Any) -> tuple[str, ...]:
    """Return the captions in a value of JSON or of a table's cell.

    Args:
        value: A text, a list of texts, an object with one of them, or None.

    Returns:
        Different texts without space around them, none empty.

    Raises:
        ValueError: If it is something else, or text that no tokenizer takes.
    """
    if isinstance(value, dict):
        value = next((value[key] for key in _KEYS if value.get(key) not in (None, "", [])), None)
    texts = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"holds no text or list of texts: {value!s:.60}")
    if any("\ud800" <= letter <= "\udfff" for text in texts for letter in text):
        raise ValueError("holds a caption that is not Unicode text")
    return tuple(dict.fromkeys(text.strip() for text in texts if text.strip()))


class CaptionLocation(NamedTuple):
    """Where the caption files of images are."""

    folder: Path  # the captions of images/trip/boat.jpg are in its trip/
    suffixes: Sequence[str] = CAPTION_SUFFIXES  # in lower case


def open_captions_folder(
    folder: Path, scan: FolderScan, captions: CaptionLocation, *, callbacks: Callbacks
) -> ListedPairs:
    """Return the images of a folder, and of the folders in it, with their captions.

    Args:
        folder: The folder with the images.
        scan: What find_images found in it.
        captions: Where their captions are.
        callbacks: Told of links, and of caption files that were skipped.

    Returns:
        Pairs in the order of their paths; an image that has several paths is one pair, with the
        captions of all of them. An image without captions and captions without an image are
        listed as skipped.
    """
    skipped = scan.skipped_in(folder)
    others = scan.other_paths
    skipped_files: list[str] = []

    def pairs() -> Iterator[tuple[str, tuple[str, ...]]]:
        for path in (entry.path for entry in scan.entries):
            try:
                files = [_caption_files(captions, name) for name in (path, *others.get(path, ()))]
                texts, reasons = _joined(files)
            except ValueError as error:
                reason = str(error) or _no_captions(captions, folder, path)
                skipped.append(ImageReadError(folder / path, reason))
                continue
            skipped_files.extend(reasons)
            yield path, texts

    found = ListedPairs(folder, pairs(), skipped=skipped)
    for path in _captions_without_image(captions, scan):
        skipped.append(ImageReadError(captions.folder / path, "there is no image of this name"))
    if others:
        callbacks.say(
            f"{folder}: {len(others)} images have other paths, by links; each is one pair with the "
            "captions of all: "
            + list_some(f"{path} = {names[0]}" for path, names in others.items())
        )
    if skipped_files:
        callbacks.warn(
            f"{folder}: {len(skipped_files)} caption files hold no caption, so another of "
            f"the same name was read: {list_some(skipped_files)}"
        )
    return found


def captions_of_image(captions: CaptionLocation, path: str) -> tuple[tuple[str, ...], list[str]]:
    """Return the captions in the files of one image.

    Args:
        captions: Where caption files are.
        path: The image, relative to the folder of images.

    Returns:
        Captions, none if there is no file with any; and why files hold none.
    """
    try:
        return choose_captions(_caption_files(captions, path))
    except ValueError as error:
        return (), [str(error)] if str(error) else []


def has_captions(scan: FolderScan, captions: CaptionLocation) -> bool:
    """Return whether any image of a folder has a caption file."""
    paths = (*(entry.path for entry in scan.entries), *(item.path for item in scan.left_out))
    return any(any(_caption_files(captions, path)) for path in paths)


def caption_endings(scan: FolderScan, captions: CaptionLocation) -> Iterator[str]:
    """Yield the ending of each caption file that an image of a folder has, in lower case."""
    for entry in scan.entries:
        yield from (file.suffix for file in _caption_files(captions, entry.path))


def _joined(candidates: Sequence[Iterator[CaptionFile]]) -> tuple[tuple[str, ...], list[str]]:
    """Return the captions of all paths of one image, and why files were skipped.

    If none has any, it raises ValueError with a reason, which is empty if there is no file.
    """
    captions: dict[str, None] = {}
    reasons: list[str] = []
    for files in candidates:
        try:
            texts, skipped_files = choose_captions(files)
        except ValueError as error:
            reasons += [str(error)] if str(error) else []
        else:
            captions |= dict.fromkeys(texts)
            reasons += skipped_files
    if not captions:
        raise ValueError(", ".join(reasons))
    return tuple(captions), reasons


def _no_captions(captions: CaptionLocation, folder: Path, path: str) -> str:
    stem = os.path.splitext(path)[0]  # noqa: PTH122
    if captions.folder == folder:
        names, where = stem.rpartition("/")[2], "beside it"
    else:
        names, where = stem, f"in {captions.folder}"
    listed = any_of([f"{names}{suffix}" for suffix in captions.suffixes])
    return f"has no captions: there is no {listed} {where}"


def _caption_files(captions: CaptionLocation, path: str) -> Iterator[CaptionFile]:
    """Yield the caption files of an image, in order of preference."""
    # os.path is faster than Path, and a folder may have a million images.
    stem = os.path.splitext(os.path.join(captions.folder, path))[0]  # noqa: PTH118, PTH122
    for suffix in captions.suffixes:
        # DOS and some cameras write names in upper case, and not all file systems ignore case.
        for file in (stem + suffix, stem + suffix.upper()):
            if os.path.isfile(file):  # noqa: PTH113
                yield CaptionFile(os.path.basename(file), suffix, partial(_read, file))  # noqa: PTH119
                break


def _read(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be opened: {error.strerror}") from error


def _captions_without_image(captions: CaptionLocation, scan: FolderScan) -> list[str]:
    """Return the caption files without an image of their name, relative to their folder."""
    # Images that were skipped and folders that were left out are reported by their own reasons.
    left_out = {item.path for item in scan.left_out}
    images = {*(entry.path for entry in scan.entries), *(error.path for error in scan.skipped)}
    stems = {os.path.splitext(path)[0] for path in images | left_out}  # noqa: PTH122 - a million
    alone = []
    for directory, folders, files in os.walk(captions.folder):
        below = Path(directory).relative_to(captions.folder).as_posix() + "/"
        below = "" if below == "./" else below
        folders[:] = [name for name in folders if below + name not in left_out]
        for name in files:
            suffix = next((end for end in captions.suffixes if name.lower().endswith(end)), "")
            if suffix and name[0] != "." and below + name[: -len(suffix)] not in stems:
                alone.append(below + name)
    return sorted(alone)
