"""The header of a safetensors file: what it holds and where, without reading a weight.

Source: the safetensors format: 8 bytes of header length, little-endian; a JSON header; the tensors.
"""

import json
import struct
from pathlib import Path
from typing import Any

_MOST_BYTES = 100_000_000  # of a header, as safetensors has it


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
    header, start = _read(weights)
    header.pop("__metadata__", None)
    return header, start


def read_metadata(weights: Path) -> dict[str, str]:
    """Return what a file says of itself besides its tensors: texts by name.

    Args:
        weights: The file.

    Returns:
        The texts; empty if there are none.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not such a file.
    """
    metadata = _read(weights)[0].get("__metadata__")
    return metadata if isinstance(metadata, dict) else {}


def _read(weights: Path) -> tuple[dict[str, Any], int]:
    with weights.open("rb") as file:
        size = file.read(8)
        if len(size) < 8:
            raise ValueError(f"{weights} is too short for a safetensors file")
        (length,) = struct.unpack("<Q", size)
        header = json.loads(file.read(min(length, _MOST_BYTES)))
    if not isinstance(header, dict):
        raise ValueError(f"{weights} has no safetensors header")
    return header, 8 + length
