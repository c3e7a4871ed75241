"""The numbers of a weights file, tensor by tensor; of a safetensors file without torch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.errors import CheckpointError
from clipkit.models.safetensors_header import read_header
from clipkit.models.transformers_layout import INDEX_SUFFIX, shards

_KINDS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def stored_tensors(weights: Path) -> Iterator[tuple[str, NDArray[np.floating[Any]]]]:
    """Yield the floating-point tensors of weights.

    Args:
        weights: A safetensors file, a torch file, or an index of several.

    Yields:
        Name and numbers, of any shape; brain floats as float32. Whole numbers are left out.

    Raises:
        CheckpointError: If a file cannot be read or is damaged.
        MissingExtraError: If it is a torch file and torch is not installed.
    """
    if weights.name.endswith(INDEX_SUFFIX):
        for path in shards(weights):
            yield from stored_tensors(path)
    elif weights.suffix == ".safetensors":
        yield from _of_safetensors(weights)
    else:
        from clipkit.models.weights import read_weights

        for name, tensor in read_weights(weights).items():
            if tensor.is_floating_point():
                yield name, tensor.float().numpy()


def _of_safetensors(weights: Path) -> Iterator[tuple[str, NDArray[np.floating[Any]]]]:
    try:
        header, start = read_header(weights)
        content = np.memmap(weights, dtype=np.uint8, mode="r")
        for name, entry in header.items():
            if entry["dtype"] in _KINDS:
                first, last = (start + offset for offset in entry["data_offsets"])
                values = np.frombuffer(content[first:last].tobytes(), _KINDS[entry["dtype"]])
                if entry["dtype"] == "BF16":  # the upper half of a float32
                    values = (values.astype("<u4") << 16).view("<f4")
                yield name, values.reshape(entry["shape"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{weights} is damaged or cut short: {error}") from error
