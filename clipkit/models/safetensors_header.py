"""The header of a safetensors file: what it holds and where, without reading a weight.

Source: the safetensors format: 8 bytes of header length, little-endian; a JSON header; the tensors.
"""

import json
import struct
from pathlib import Path
from typing import Any


def read_header(weights: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """Return the entry of every tensor, and where the tensors begin.

    Args:
        weights: The file.

    Returns:
        By name: "dtype", "shape" and "data_offsets", which count from the second result, in bytes
        from the start of the file.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not such a file.
    """
    with weights.open("rb") as file:
        size = file.read(8)
        if len(size) < 8:
            raise ValueError(f"{weights} is too short for a safetensors file")
        (length,) = struct.unpack("<Q", size)
        header: dict[str, dict[str, Any]] = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return header, 8 + length
