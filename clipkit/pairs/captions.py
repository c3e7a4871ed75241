"""Captions as files beside images hold them: lines of text, or JSON.

JSON is a text, a list of texts, or an object with one of these under "caption", "captions",
"title" or "text", as img2dataset and tools for tagging write it.
"""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

CAPTION_SUFFIXES = (".txt", ".caption", ".json")
"""Endings of caption files, in lower case: of several of one image, the first that holds any."""

_KEYS = ("caption", "captions", "title", "text")
# A class and at least two points: what YOLO's .txt files hold beside images.
_BOX = re.compile(r"\d+(\s+-?\d*\.?\d+(e-?\d+)?){4,}")


def caption_suffixes(ending: str) -> tuple[str, ...]:
    """Return the endings that caption files may have: the one given, or else the usual ones."""
    return (f".{ending.lower().lstrip('.')}",) if ending else CAPTION_SUFFIXES


class CaptionFile(NamedTuple):
    """A file that may hold the captions of an image."""

    name: str  # for people
    suffix: str  # in lower case
    read: Callable[[], bytes]  # raises ValueError with a reason


def choose_captions(files: Iterable[CaptionFile]) -> tuple[tuple[str, ...], list[str]]:
    """Return the captions of the first file that holds any, and why those before it do not.

    An empty or damaged .txt does not hide a good .json.

    Args:
        files: Of one image, those to be preferred first.

    Returns:
        Captions, at least one, and reasons.

    Raises:
        ValueError: If none holds any; the message is a reason. It is empty if there is no file.
    """
    passed_over: list[str] = []
    for file in files:
        try:
            captions = read_captions(file.read(), file.suffix)
        except ValueError as error:
            passed_over.append(f"{file.name} {error}")
            continue
        if captions:
            return captions, passed_over
        passed_over.append(f"{file.name} holds no caption")
    raise ValueError(", ".join(passed_over))


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
