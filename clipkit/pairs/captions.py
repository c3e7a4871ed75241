"""Captions as files beside pictures hold them: lines of text, or JSON.

JSON is a text, a list of texts, or an object with one of these under "caption", "captions",
"title" or "text", as img2dataset and tools for tagging write it.
"""

import json
import re
from typing import Any

CAPTION_SUFFIXES = (".txt", ".json")
"""Endings of caption files, in lower case; of two beside one picture the first of these is read."""

_KEYS = ("caption", "captions", "title", "text")


def read_captions(content: bytes, suffix: str) -> tuple[str, ...]:
    """Return the captions in a file.

    Args:
        content: The file.
        suffix: ".json", or anything else for a caption in each line.

    Returns:
        Different texts, as captions_of returns them; none if the file holds none.

    Raises:
        ValueError: If it is not UTF-8, or not JSON of the kinds above; the message is a reason.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("is not UTF-8") from error
    if suffix != ".json":
        return captions_of(re.split(r"[\r\n]+", text))
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from error
    return captions_of(value)


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
        value = next((value[key] for key in _KEYS if value.get(key) is not None), None)
    texts = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"holds no text or list of texts: {value!s:.60}")
    if any("\ud800" <= letter <= "\udfff" for text in texts for letter in text):
        raise ValueError("holds a caption that is not Unicode text")
    return tuple(dict.fromkeys(text.strip() for text in texts if text.strip()))
