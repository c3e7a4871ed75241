"""Reasons why an image cannot be read: a decoder's exceptions in words for people.

The first bytes of a file tell its format (:func:`file_format`), and the header of a JPEG whether
it is of a kind that no decoder here reads (:func:`unread_jpeg_kind`).
"""

import errno
from collections.abc import Callable
from typing import BinaryIO

from PIL import UnidentifiedImageError


class UnreadableError(Exception):
    """An image cannot be read; its message is the reason, its path is not known yet."""


# --- reasons ------------------------------------------------------------------------------------

_BY_TYPE: dict[type[Exception], str] = {
    FileNotFoundError: "no such file",
    IsADirectoryError: "is a folder",
    NotADirectoryError: "no such file: a part of its path is not a folder",
    PermissionError: "permission denied",
    MemoryError: "does not fit in memory",
}
# Pillow's messages where it understands a header and has no decoder for it.
_NO_DECODER = ("cannot load this image", "unknown raw mode for given image mode")
_TRUNCATED = ("truncated", "not large enough", "end of file", "eof", "need_more_input")
_NOT_READ = {"Photoshop", "OpenEXR", "Radiance HDR", "JPEG XR", "GIMP"}


def reason_for(error: Exception, head: bytes) -> str:
    """Return why an image cannot be read, as a clause without a full stop.

    Args:
        error: What was raised while it was opened or decoded.
        head: The first bytes of the image, as far as they were read.

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
    return f"is cut off: {text}" if says_truncated(text) else f"is damaged or cut off: {text}"


def says_truncated(message: str) -> bool:
    """Return whether a decoder's message says that the file ends too early.

    Args:
        message: The message.

    Returns:
        Whether it does.
    """
    lowered = message.lower()
    return any(word in lowered for word in _TRUNCATED)


def _unidentified(head: bytes) -> str:
    found = file_format(head)
    if found in _NOT_READ:
        return f"is of a kind that cannot be read here: {found}; save it as PNG or JPEG"
    if found:
        return f"is damaged or cut off: it starts like {found}, but its header is unreadable"
    # repr keeps control characters printable; the b in front means nothing to most people.
    return f"is not an image: it starts with {head[:9]!r}".replace("with b", "with ", 1)


# --- formats by their first bytes ---------------------------------------------------------------

_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}


def file_format(head: bytes) -> str | None:
    """Return the image format that a file starts like.

    Args:
        head: The first bytes of the file; 64 are plenty.

    Returns:
        For example "JPEG XL"; None for what has no signature that is known here.
    """
    return next((name for name, matches in _SIGNATURES.items() if matches(head)), None)


def _is_heif(head: bytes) -> bool:
    """Return whether a file is HEIC or another HEIF image that Pillow alone cannot read."""
    found = _iso_brands(head)
    return not found & _AVIF_BRANDS and bool(found & _HEIF_BRANDS)


def _iso_brands(head: bytes) -> set[bytes]:
    """Return the four-letter brands an ISO media file (HEIC, AVIF, video) states at its start."""
    if head[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return {head[8:12]} | {head[start : start + 4] for start in range(16, end - 3, 4)}


_SIGNATURES: dict[str, Callable[[bytes], bool]] = {
    "JPEG": lambda head: head.startswith(b"\xff\xd8\xff"),
    "PNG": lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
    "GIF": lambda head: head.startswith((b"GIF87a", b"GIF89a")),
    "WebP": lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP",
    "TIFF": lambda head: head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    "AVIF": lambda head: bool(_iso_brands(head) & _AVIF_BRANDS),
    "JPEG 2000": lambda head: head.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")),
    "JPEG XL": lambda head: head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")),
    "HEIC": _is_heif,
    "Photoshop": lambda head: head.startswith(b"8BPS"),
    "OpenEXR": lambda head: head.startswith(b"v/1\x01"),
    "Radiance HDR": lambda head: head.startswith((b"#?RADIANCE", b"#?RGBE")),
    "JPEG XR": lambda head: head.startswith(b"II\xbc"),
    "GIMP": lambda head: head.startswith(b"gimp xcf"),
}


# --- kinds of JPEG ------------------------------------------------------------------------------

_READ_FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)  # start of frame: baseline, extended, progressive
_UNREAD_FRAMES = {
    0xC3: "lossless", 0xC5: "hierarchical", 0xC6: "hierarchical", 0xC7: "hierarchical",
    0xCB: "lossless", 0xCD: "hierarchical", 0xCE: "hierarchical", 0xCF: "hierarchical",
    0xF7: "JPEG-LS",
}  # fmt: skip
_START_OF_SCAN = 0xDA  # the pixels begin
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD9))
_MAX_SEGMENTS = 10_000


def unread_jpeg_kind(file: BinaryIO) -> str | None:
    """Return why an undamaged JPEG cannot be read.

    Args:
        file: A seekable binary file that starts like a JPEG.

    Returns:
        A clause; None if it is of a kind that can be read, or its header does not tell.
    """
    frame = _frame_header(file)
    if frame is None:
        return None
    marker, bits, channels = frame
    if marker in _UNREAD_FRAMES:
        what = _UNREAD_FRAMES[marker]
    elif bits != 8:
        what = f"{bits} bits a channel"
    elif channels not in (1, 3, 4):
        what = f"{channels} channels"
    else:
        return None
    return f"is a kind of JPEG that cannot be read here: {what}"


def _frame_header(file: BinaryIO) -> tuple[int, int, int] | None:
    """Return the marker of the first frame, its bits a channel, and its number of channels."""
    file.seek(2)
    for _ in range(_MAX_SEGMENTS):
        head = file.read(2)
        while head[1:] == b"\xff":  # padding
            head = head[1:] + file.read(1)
        if len(head) < 2 or head[0] != 0xFF:
            return None
        marker = head[1]
        if marker in _WITHOUT_LENGTH:
            continue
        length = int.from_bytes(file.read(2), "big")
        if marker in _READ_FRAMES or marker in _UNREAD_FRAMES:
            header = file.read(6)
            return (marker, header[0], header[5]) if len(header) == 6 else None
        if marker == _START_OF_SCAN or length < 2:
            return None
        file.seek(length - 2, 1)
    return None
