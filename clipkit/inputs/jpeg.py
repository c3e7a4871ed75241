"""What kind of JPEG a file is, where its decoder does not say that it reads no such kind."""

from typing import BinaryIO

_READ = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)  # start of frame: baseline, extended, progressive
_NOT_READ = {
    0xC3: "lossless", 0xC5: "hierarchical", 0xC6: "hierarchical", 0xC7: "hierarchical",
    0xCB: "lossless", 0xCD: "hierarchical", 0xCE: "hierarchical", 0xCF: "hierarchical",
    0xF7: "JPEG-LS",
}  # fmt: skip
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD9))
_MAX_SEGMENTS = 10_000


def why_not_read(file: BinaryIO) -> str | None:
    """Return why a JPEG cannot be read that is not damaged.

    Args:
        file: A seekable binary file that starts like a JPEG.

    Returns:
        A clause; None if it is of a kind that can be read, or its header does not tell.
    """
    frame = _frame_header(file)
    if frame is None:
        return None
    marker, bits, channels = frame
    if marker in _NOT_READ:
        what = _NOT_READ[marker]
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
        if marker in _READ or marker in _NOT_READ:
            header = file.read(6)
            return (marker, header[0], header[5]) if len(header) == 6 else None
        if marker == 0xDA or length < 2:  # the pixels begin
            return None
        file.seek(length - 2, 1)
    return None
