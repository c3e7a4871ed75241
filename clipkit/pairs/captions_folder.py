"""A folder of pictures, each with its captions in a file of the same name beside it.

``boat.jpg`` has its captions in ``boat.txt``, one a line, or in ``boat.json``: a text, a list of
texts, or an object with one of them under "caption", "captions", "title" or "text".
"""

import json
from pathlib import Path
from typing import Any

from clipkit.errors import ImageReadError
from clipkit.inputs.folders import IMAGE_EXTENSIONS, find_images
from clipkit.pairs.pair import ListedPairs, Pair

CAPTION_SUFFIXES = (".txt", ".json")
CAPTION_KEYS = ("captions", "caption", "title", "text")


def open_captions_folder(folder: Path) -> ListedPairs:
    """Return the pictures of a folder, and of the folders in it, with their captions.

    Args:
        folder: Where to look.

    Returns:
        Pairs in the order of their paths. A picture without captions and captions without a
        picture are listed as skipped.

    Raises:
        InputError: If the folder cannot be opened.
    """
    scan = find_images(folder)
    pairs, skipped = [], list(scan.skipped)
    used: set[Path] = set()
    for entry in scan.entries:
        path = folder / entry.path
        found = [file for file in _caption_files(path) if file.is_file()]
        used.update(found)
        try:
            captions = [text for file in found for text in read_captions(file)]
        except ValueError as error:
            skipped.append(ImageReadError(path, str(error)))
            continue
        if captions:
            pairs.append(Pair(path, tuple(dict.fromkeys(captions)), str(path)))
        else:
            wanted = " or ".join(file.name for file in _caption_files(path))
            reason = f"{found[0].name} holds no caption" if found else f"there is no {wanted}"
            skipped.append(ImageReadError(path, reason))
    for suffix in CAPTION_SUFFIXES:
        for file in sorted(folder.rglob(f"*{suffix}")):
            if file not in used and not _is_beside_picture(file):
                skipped.append(ImageReadError(file, "there is no picture of this name"))
    return ListedPairs(pairs, skipped=skipped)


def has_captions(folder: Path) -> bool:
    """Return whether any picture of a folder has a caption file beside it."""
    return any(
        file.is_file()
        for entry in find_images(folder).entries
        for file in _caption_files(folder / entry.path)
    )


def read_captions(file: Path) -> list[str]:
    """Return the captions in a file.

    Args:
        file: With lines of text, or JSON.

    Returns:
        Texts without space around them, none empty; none if the file holds none.

    Raises:
        ValueError: If it is not text, or not JSON of the kinds above; the message is a reason.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = "is not UTF-8" if isinstance(error, ValueError) else error.strerror
        raise ValueError(f"{file.name} {reason}") from error
    if file.suffix != ".json":
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        return captions_of(json.loads(text))
    except ValueError as error:
        raise ValueError(f"{file.name} is not JSON with a caption: {error}") from error


def captions_of(value: Any) -> list[str]:
    """Return the captions in a JSON value.

    Args:
        value: A text, a list of texts, or an object with one of them.

    Returns:
        Texts without space around them, none empty.

    Raises:
        ValueError: If it is something else.
    """
    if isinstance(value, dict):
        keys = [key for key in CAPTION_KEYS if value.get(key) is not None]
        return captions_of(value[keys[0]]) if keys else []
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"a caption must be a text or a list of texts, got {value!r:.80}")
    return [text.strip() for text in value if text.strip()]


def _caption_files(picture: Path) -> list[Path]:
    return [picture.with_suffix(suffix) for suffix in CAPTION_SUFFIXES]


def _is_beside_picture(file: Path) -> bool:
    """Return whether a file has a picture that could not be taken, which is listed itself."""
    return any(file.with_suffix(suffix).exists() for suffix in IMAGE_EXTENSIONS)
