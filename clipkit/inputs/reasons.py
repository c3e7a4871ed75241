"""Why a picture cannot be read, in words: from what a decoder raised to a clause for a person."""

import errno
from collections.abc import Callable

from PIL import UnidentifiedImageError


class UnreadableError(Exception):
    """A picture cannot be read; its message is the reason, its path is not known yet."""


def reason_for(error: Exception, head: bytes) -> str:
    """Return why a picture cannot be read, as a clause without a full stop.

    Args:
        error: What was raised while it was opened or decoded.
        head: The first bytes of the picture, as far as they were read.

    Returns:
        A clause such as "no such file".
    """
    for kind, reason in _BY_TYPE.items():
        if isinstance(error, kind):
            return reason
    if isinstance(error, UnreadableError):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return _unidentified(head)
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return "is a link that leads back to itself"
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot be opened: {(error.strerror or 'unknown error').lower()}"
    text = " ".join(str(error).split()) or type(error).__name__
    if text in _NO_DECODER:
        return "is a kind of image that cannot be read here"
    return f"is cut off: {text}" if speaks_of_a_cut(text) else f"is damaged or cut off: {text}"


def brands(head: bytes) -> set[bytes]:
    """Return the four-letter brands an ISO media file (HEIC, AVIF, video) states at its start.

    Args:
        head: The first bytes of the file; 64 are plenty.

    Returns:
        For example {b"heic", b"mif1"}; empty for any other file.
    """
    if head[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return {head[8:12]} | {head[start : start + 4] for start in range(16, end - 3, 4)}


def speaks_of_a_cut(text: str) -> bool:
    """Return whether a decoder's message says that the file ends too early.

    Args:
        text: The message.

    Returns:
        Whether it does.
    """
    lowered = text.lower()
    return any(word in lowered for word in _CUTS)


_CUTS = ("truncated", "not large enough", "end of file", "eof", "need_more_input")


def kind_of(head: bytes) -> str | None:
    """Return what kind of image a file starts like.

    Args:
        head: The first bytes of the file; 64 are plenty.

    Returns:
        For example "JPEG XL"; None for what has no signature that is known here.
    """
    return next((kind for kind, matches in _SIGNATURES.items() if matches(head)), None)


def _is_heif(head: bytes) -> bool:
    """Return whether a file is HEIC or another HEIF image that Pillow alone cannot read."""
    found = brands(head)
    return not found & {b"avif", b"avis"} and bool(found & _HEIF_BRANDS)


_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}

# Pillow's words where it understands a header and has nothing for what it asks for.
_NO_DECODER = ("cannot load this image", "unknown raw mode for given image mode")

_BY_TYPE: dict[type[Exception], str] = {
    FileNotFoundError: "no such file",
    IsADirectoryError: "is a folder",
    NotADirectoryError: "no such file: a part of its path is not a folder",
    PermissionError: "permission denied",
    MemoryError: "does not fit in memory",
}

_SIGNATURES: dict[str, Callable[[bytes], bool]] = {
    "JPEG": lambda head: head.startswith(b"\xff\xd8\xff"),
    "PNG": lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
    "GIF": lambda head: head.startswith((b"GIF87a", b"GIF89a")),
    "WebP": lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP",
    "TIFF": lambda head: head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    "AVIF": lambda head: bool(brands(head) & {b"avif", b"avis"}),
    "JPEG 2000": lambda head: head.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")),
    "JPEG XL": lambda head: head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")),
    "HEIC": _is_heif,
    "Photoshop": lambda head: head.startswith(b"8BPS"),
    "OpenEXR": lambda head: head.startswith(b"v/1\x01"),
    "Radiance HDR": lambda head: head.startswith((b"#?RADIANCE", b"#?RGBE")),
    "JPEG XR": lambda head: head.startswith(b"II\xbc"),
    "GIMP": lambda head: head.startswith(b"gimp xcf"),
}
_NOT_READ = {"Photoshop", "OpenEXR", "Radiance HDR", "JPEG XR", "GIMP"}


def _unidentified(head: bytes) -> str:
    kind = kind_of(head)
    if kind in _NOT_READ:
        return f"is of a kind that cannot be read here: {kind}; save it as PNG or JPEG"
    if kind:
        return f"is damaged or cut off: it starts like {kind}, but its header is unreadable"
    # repr keeps control characters printable; the b in front means nothing to most people.
    return f"is not a picture: it starts with {head[:9]!r}".replace("with b", "with ", 1)
