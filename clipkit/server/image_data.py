"""Images inside a request: data URLs to bytes. Nothing is fetched, and no file is opened."""

import base64
import binascii
import re

from clipkit.errors import InputError

DATA_URL = r"^data:[a-zA-Z0-9.+/-]{0,100};base64,[A-Za-z0-9+/]+={0,2}$"
"""What an image in a request looks like, for the schema."""

_HEAD = re.compile(r"data:[\w.+/;=-]{0,100},", re.ASCII | re.IGNORECASE)
_RIGHT = (
    'an image must be a data URL, as in "data:image/jpeg;base64,/9j/4AAQ...": read the file and '
    "send its bytes"
)


def read_image(text: str) -> bytes:
    """Return the encoded image of a data URL.

    Args:
        text: What a client sent for an image.

    Returns:
        The bytes of the file.

    Raises:
        InputError: If it is an address or a path, which nobody follows, or no base64.
    """
    head = _HEAD.match(text)
    if head is None:
        what = "addresses and paths are never followed" if _is_address(text) else "it is none"
        raise InputError(f"{_RIGHT}; {what}, got {text[:40]!a}")
    if not head[0].lower().endswith(";base64,"):
        raise InputError(f"{_RIGHT}; it must be in base64, got {head[0][:40]!a}")
    content = text[head.end() :]
    try:
        # Not the URL alphabet, and nothing that is skipped silently.
        data = base64.b64decode("".join(content.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"the image's base64 is damaged or cut off: {error}") from error
    if not data:
        raise InputError("the image is empty: there is nothing after base64, in its data URL")
    return data


def _is_address(text: str) -> bool:
    return "://" in text[:40] or text.startswith(("/", "~", ".", "file:", "\\"))
