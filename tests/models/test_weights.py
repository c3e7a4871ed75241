"""Weights files: tensors only, and a sentence for everything else."""

import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from clipkit.errors import CheckpointError
from clipkit.models.weights import read_weights

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}


class Burglar:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


def _same(tensors: dict[str, torch.Tensor]) -> bool:
    return tensors.keys() == TENSORS.keys() and all(
        torch.equal(tensors[name], TENSORS[name]) for name in TENSORS
    )


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_safetensors_are_read_whatever_their_name(tmp_path: Path, suffix: str) -> None:
    save_file(TENSORS, tmp_path / f"model{suffix}")
    assert _same(read_weights(tmp_path / f"model{suffix}"))


@pytest.mark.parametrize("is_zip", [True, False])
def test_torch_files_are_read_plain_and_as_training_checkpoints(
    tmp_path: Path, is_zip: bool
) -> None:
    file = tmp_path / "epoch.pt"
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))]).state_dict()
    contents: list[dict[str, Any]] = [
        TENSORS,
        {f"module.{name}": tensor for name, tensor in TENSORS.items()},
        {"epoch": 3, "name": "run", "state_dict": TENSORS, "optimizer": optimizer},
    ]
    for content in contents:
        torch.save(content, file, _use_new_zipfile_serialization=is_zip)
        assert _same(read_weights(file))


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_file_with_python_objects_is_refused_and_runs_nothing(
    tmp_path: Path, is_zip: bool
) -> None:
    loot, file = tmp_path / "loot", tmp_path / "weights.pt"
    content = {"state_dict": TENSORS, "burglar": Burglar(loot)}
    torch.save(content, file, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(
        CheckpointError, match="which clipkit never unpickles: save only the state_"
    ):
        read_weights(file)
    assert not loot.exists()

    pickle.loads(pickle.dumps(Burglar(loot)))
    assert loot.exists(), "the burglar does break in where objects are built"


def test_torchscript_is_refused_with_what_to_load_instead(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates writing the format, in changing words
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "ViT-B-32.pt")
    with pytest.raises(CheckpointError, match="is a TorchScript archive, a program and not only"):
        read_weights(tmp_path / "ViT-B-32.pt")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    save_file(TENSORS, whole)
    data = whole.read_bytes()
    torch.save(TENSORS, tmp_path / "whole.pt")
    zipped = (tmp_path / "whole.pt").read_bytes()
    torch.save(TENSORS, tmp_path / "whole.pt", _use_new_zipfile_serialization=False)
    pickled = (tmp_path / "whole.pt").read_bytes()
    damaged = {
        "cut.safetensors": data[:-3],
        "head.safetensors": data[:20],
        "empty.safetensors": b"",
        "text.safetensors": b"<html>not found</html>",
        "cut.pt": zipped[: len(zipped) // 2],
        "cut-pickle.pt": pickled[: len(pickled) // 2],
        "flipped.pt": zipped.replace(b"PK\x05\x06", b"PK\x05\x07"),
        "empty.pt": b"",
        "text.bin": b"<html>not found</html>",
    }
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=f"{name} is damaged"):
            read_weights(tmp_path / name)


def test_files_that_are_no_state_dict_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    contents: dict[str, Any] = {
        "holds no tensors by name": [torch.ones(1)],
        "is not a state dict: epoch, lr are no tensors": {"epoch": 1, "lr": 0.1, **TENSORS},
    }
    for message, content in contents.items():
        torch.save(content, file)
        with pytest.raises(CheckpointError, match=message):
            read_weights(file)
    with pytest.raises(CheckpointError, match=r"there is no weights file .*gone\.pt"):
        read_weights(tmp_path / "gone.pt")
