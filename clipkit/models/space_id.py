"""The space_id: a hash of weights, config and tokenizer; embeddings of one space_id compare.

Towers with equal numbers have equal ids, on any machine and in any storage format: weights are
hashed as float32, and what does not enter the computation is left out.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Names and switches of loading; none of them changes a number once the weights are in.
_LOADING_KEYS = frozenset(
    {"hf_model_name", "hf_tokenizer_name", "hf_model_pretrained", "timm_model_pretrained"}
)
_DERIVED_TENSORS = ("position_ids", "num_batches_tracked", "attn_mask")
_SCALAR_TENSORS = frozenset({"logit_scale", "logit_bias"})


def space_id(
    config: Mapping[str, Any],
    tensors: Iterable[tuple[str, NDArray[Any]]],
    tokenizer_digest: str,
) -> str:
    """Return the identity of an embedding space.

    Args:
        config: "model_cfg", "preprocess_cfg" and "kept_dims", of values that JSON can hold.
        tensors: Every tensor of both towers by name, in any order and any float format.
        tokenizer_digest: What identifies the vocabulary.

    Returns:
        16 hex digits.

    Source:
        Own.

    Example:
        >>> weights = {"w": np.ones((2, 2), np.float16)}
        >>> exact = {"w": np.ones((2, 2), np.float32)}
        >>> space_id({}, weights.items(), "clip") == space_id({}, exact.items(), "clip")
        True
    """
    digest = hashlib.sha256()
    text = json.dumps(_canonical(config), sort_keys=True, separators=(",", ":"))
    for part in (text, tokenizer_digest):
        digest.update(hashlib.sha256(part.encode()).digest())
    for name, tensor in sorted(tensors, key=lambda item: item[0]):
        if name.rpartition(".")[2] in _DERIVED_TENSORS:
            continue
        values = np.ascontiguousarray(tensor, dtype="<f4")
        shape = (1,) if name in _SCALAR_TENSORS else values.shape  # () and (1,) both occur
        digest.update(hashlib.sha256(f"{name}:{shape}".encode()).digest())
        digest.update(hashlib.sha256(values.data).digest())
    return digest.hexdigest()[:16]


def _canonical(value: Any) -> Any:
    """Return a value as JSON would give it back, the same for every way of writing it."""
    if isinstance(value, Mapping):
        return {
            str(key): _canonical(item)
            for key, item in value.items()
            # A switch that is off and one that is not mentioned build the same towers.
            if key not in _LOADING_KEYS and item is not None and item is not False
        }
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
