"""The same image as many files, each with another comment inside: no two have equal bytes."""

import zlib

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER_BYTES = 25  # its first chunk


def with_remark(content: bytes, number: int) -> bytes:
    """Return a JPEG or PNG file with a number in a comment; its pixels stay as they are."""
    remark = f"{number:08}".encode()
    if content.startswith(_PNG):
        end = len(_PNG) + _PNG_HEADER_BYTES
        chunk = b"tEXtComment\0" + remark
        length, check = len(chunk) - 4, zlib.crc32(chunk)  # without its type; with it
        return content[:end] + length.to_bytes(4) + chunk + check.to_bytes(4) + content[end:]
    return content[:2] + b"\xff\xfe" + (len(remark) + 2).to_bytes(2) + remark + content[2:]
