"""Reading weights files (safetensors, torch) as tensors only: nothing is ever unpickled or run."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

from clipkit.errors import CheckpointError, MissingExtraError
from clipkit.models.transformers_layout import INDEX_SUFFIX, shards

try:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file
except ImportError as error:
    raise MissingExtraError("torch", "Opening weights") from error

StateDict = dict[str, "torch.Tensor"]


def read_weights(path: Path) -> StateDict:
    """Return the tensors of a weights file by name.

    Args:
        path: A safetensors file, or a torch file: a state dict alone, or a training checkpoint
            with one under "state_dict"; or the index of transformers' that names several such.

    Returns:
        Tensors on the CPU, in the format they are stored in.

    Raises:
        CheckpointError: If the file is missing, damaged, a program (TorchScript), or would have
            to be unpickled.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no weights file {path}")
    if path.name.endswith(INDEX_SUFFIX):
        return _read_shards(path)
    content = _read_safetensors(path) if _is_safetensors(path) else _read_torch(path)
    for key in ("state_dict", "model_state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"{path} holds no tensors by name, so it is not a checkpoint")
    tensors = {
        str(name).removeprefix("module."): value  # as torch's DistributedDataParallel names them
        for name, value in content.items()
        if isinstance(value, torch.Tensor)
    }
    if len(tensors) != len(content):
        others = [str(name) for name in content if not isinstance(content[name], torch.Tensor)]
        raise CheckpointError(f"{path} is not a state dict: {', '.join(others[:3])} are no tensors")
    return tensors


def _read_shards(index: Path) -> StateDict:
    tensors: StateDict = {}
    for path in shards(index):
        tensors |= read_weights(path)
    return tensors


def _is_safetensors(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    return path.suffix == ".safetensors" or start[8:] == b"{"


def _read_safetensors(path: Path) -> Any:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or cut short: {error}") from error


def _read_torch(path: Path) -> Any:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.rpartition("/")[2] == "constants.pkl" for name in archive.namelist()):
                raise CheckpointError(
                    f"{path} is a TorchScript archive, a program and not only weights: "
                    'load the same weights by name, for example "ViT-B-32/openai", '
                    "or save its state_dict() as safetensors"
                )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is damaged, or holds Python objects besides tensors, which clipkit never "
            "unpickles: save only the state_dict() of the model, best as safetensors"
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{path} is damaged or cut short: {reason}") from error
