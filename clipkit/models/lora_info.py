"""LoRA without its tensors: what can be adapted, and what an adapter file says of itself.

Reads no tensors and imports no torch.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from clipkit.errors import CheckpointError
from clipkit.models.safetensors_header import read_metadata

LoraTowers = Literal["both", "image", "text"]
LoraTarget = Literal["q", "k", "v", "out", "linear", "conv"]
"""Queries, keys, values and the output of attention; other linear layers; 1 x 1 convolutions."""

LORA_NAME = "lora.safetensors"  # the file of an adapter, in a directory of its own or of a run
_KEY = "clipkit_lora"
_FORMAT = 1


@dataclass(frozen=True)
class LoraInfo:
    """An adapter's base model and its scale."""

    base: str  # as it may be published: of a model on this machine the last part of its path
    is_base_local: bool  # a model on this machine, which no other finds by that name
    base_space_id: str
    base_tokenizer: str  # digest of its vocabulary, which enters the space_id
    rank: int
    alpha: float  # products are multiplied by alpha / sqrt(rank)

    def to_metadata(self) -> dict[str, str]:
        """Return the texts that a file holds: one, as safetensors writes several in any order."""
        return {_KEY: json.dumps({"format": _FORMAT, **asdict(self)})}


def read_info(path: Path) -> LoraInfo:
    """Return what an adapter file says of itself.

    Args:
        path: The file.

    Returns:
        Its base model and its scale.

    Raises:
        CheckpointError: If it cannot be read, is damaged, or is not an adapter of clipkit's.
    """
    try:
        text = read_metadata(path).get(_KEY)
        found = None if text is None else json.loads(text)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged or cut short: {error}") from error
    if found is None:
        raise CheckpointError(
            f"{path} is no adapter of clipkit's: it does not name its base model. Merge an adapter "
            "of another program into its model there, and load that"
        )
    try:
        version = found.pop("format")
        if version != _FORMAT:
            raise CheckpointError(
                f"{path} has format {version}, this clipkit reads {_FORMAT}: load it with the "
                "version that wrote it"
            )
        info = LoraInfo(**found)
        is_scaled = isinstance(info.rank, int) and math.isfinite(info.alpha) and info.rank > 0
    except (AttributeError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} is damaged: what it says of its rank, scale or base model cannot be read"
        ) from error
    if not is_scaled:
        raise CheckpointError(
            f"{path} is damaged: its rank is {info.rank} and its alpha {info.alpha}"
        )
    return info
