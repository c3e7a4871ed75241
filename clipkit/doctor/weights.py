"""Checks of weights: whether the file is whole, and whether its numbers are those of training."""

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.doctor.health import HealthCheck
from clipkit.errors import CheckpointError, MissingExtraError
from clipkit.models.hub_integrity import verify_weights
from clipkit.models.safetensors_header import read_header
from clipkit.models.stored_tensors import stored_tensors
from clipkit.models.transformers_layout import INDEX_SUFFIX, shards

_NORM = re.compile(r"(^|[._])(ln|norm|layer_?norm|layernorm|bn)\w*\.(weight|bias)$", re.IGNORECASE)
_LFS_START = b"version https://git-lfs"
# Of the starts of names that belong to the text encoder, in open_clip's and transformers' layouts.
_TEXT_STARTS = ("text", "transformer.", "ln_final", "token_embedding", "positional_embedding")
_LEAST_NORMS = 2  # a single one could be left out of training on purpose


def check_weights_file(weights: Path, hub_name: str | None) -> Iterator[HealthCheck]:
    """Yield whether weights are whole, without loading them.

    Args:
        weights: A weights file, or an index of several.
        hub_name: What ``clipkit fetch`` calls the model, for weights in the hub's cache.

    Yields:
        One check a file.
    """
    paths = shards(weights) if weights.name.endswith(INDEX_SUFFIX) else [weights]
    for path in paths:
        try:
            figure = _whole_file(path)
            verify_weights(path, hub_name)
        except CheckpointError as error:
            yield HealthCheck("weights file", str(path), str(error), "problem")
        else:
            yield HealthCheck("weights file", str(path), figure)


def check_weights_values(weights: Path) -> Iterator[HealthCheck]:
    """Yield whether the numbers of weights can be those of a trained model.

    Args:
        weights: A whole weights file, or an index of several.

    Yields:
        Whether all are numbers, whether matrices vary, and whether training has changed the
        normalisation layers of each encoder.
    """
    num_tensors, num_values = 0, 0
    broken: list[str] = []
    constant: list[str] = []
    norms: dict[str, list[bool]] = {"image": [], "text": []}
    try:
        for name, values in stored_tensors(weights):
            num_tensors, num_values = num_tensors + 1, num_values + values.size
            if not np.isfinite(values).all():
                broken.append(name)
            elif values.ndim >= 2 and values.size > 1 and (values == values.flat[0]).all():
                constant.append(name)
            if _NORM.search(name):
                norms[_encoder_of(name)].append(_is_initial(name, values))
    except MissingExtraError as error:
        yield HealthCheck("weights", str(weights), f"not read: {error}", "remark")
        return
    except CheckpointError as error:
        yield HealthCheck("weights", str(weights), str(error), "problem")
        return
    yield from _value_checks(
        weights, f"{num_tensors} tensors, {num_values:,} numbers", broken, constant
    )
    yield from _initial_checks(weights, norms)


def _whole_file(path: Path) -> str:
    """Return the size of a weights file, in words; raise CheckpointError if it is not whole."""
    fetch = "copy or fetch it again"
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    if start.startswith(_LFS_START):
        raise CheckpointError(
            f"{path} is a pointer of Git LFS of {size} bytes and not the weights: run  git lfs pull"
        )
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        expected = _safetensors_size(path, fetch)
        if size != expected:
            raise CheckpointError(
                f"{path} has {size:,} bytes, and its header says {expected:,}: it was cut short or "
                f"overwritten; {fetch}"
            )
    elif start.startswith(b"PK"):
        _check_archive(path, fetch)
    return f"whole, {size:,} bytes"


def _safetensors_size(path: Path, fetch: str) -> int:
    try:
        header, start = read_header(path)
        return start + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except (OSError, ValueError, KeyError, TypeError, IndexError, MemoryError) as error:
        reason = "its header is no JSON" if isinstance(error, json.JSONDecodeError) else error
        raise CheckpointError(f"{path} is no safetensors file ({reason}): {fetch}") from error


def _check_archive(path: Path, fetch: str) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as error:
        raise CheckpointError(
            f"{path} is a torch file that was cut short or damaged ({error}): {fetch}"
        ) from error
    if damaged is not None:
        raise CheckpointError(f"{path} is damaged at {damaged}, whose checksum differs: {fetch}")


def _encoder_of(name: str) -> str:
    return "text" if name.removeprefix("module.").startswith(_TEXT_STARTS) else "image"


def _is_initial(name: str, values: NDArray[np.floating[Any]]) -> bool:
    """Return whether a normalisation layer is as it is before training: ones, and zeros as bias."""
    return bool((values == (1 if name.endswith("weight") else 0)).all())


def _value_checks(
    weights: Path, amount: str, broken: list[str], constant: list[str]
) -> Iterator[HealthCheck]:
    if broken:
        yield HealthCheck(
            "weights",
            str(weights),
            f"{len(broken)} tensors hold NaN or infinity, the first is {broken[0]}",
            "problem",
            "training has diverged or the file is damaged; take an earlier checkpoint",
        )
    elif constant:
        yield HealthCheck(
            "weights",
            str(weights),
            f"{len(constant)} matrices hold one number only, the first is {constant[0]}",
            "remark",
            "such a matrix computes nothing, which a model hardly learns",
        )
    else:
        yield HealthCheck("weights", str(weights), f"{amount}, all finite, no constant matrix")


def _initial_checks(weights: Path, norms: dict[str, list[bool]]) -> Iterator[HealthCheck]:
    for encoder, are_initial in norms.items():
        if len(are_initial) < _LEAST_NORMS:
            continue
        figure = (
            f"{sum(are_initial)} of {len(are_initial)} normalisation tensors of the {encoder} "
            "encoder are as before training"
        )
        name = f"training of the {encoder} encoder"
        if all(are_initial):
            yield HealthCheck(
                name,
                str(weights),
                figure,
                "problem",
                "these are random weights; take those of a trained model",
            )
        else:
            yield HealthCheck(name, str(weights), figure)
