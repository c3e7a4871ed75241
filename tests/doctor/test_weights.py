"""Checks of weights: truncated files, numbers that are none, weights that were never trained."""

import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from clipkit.doctor.health import HealthCheck
from clipkit.doctor.weights import check_weights_file, check_weights_values
from clipkit.models.stored_tensors import stored_tensors

TRAINED = {
    "visual.ln_pre.weight": torch.tensor([0.9, 1.1]),
    "visual.ln_pre.bias": torch.tensor([0.0, 0.1]),
    "ln_final.weight": torch.tensor([1.2, 1.0]),
    "ln_final.bias": torch.tensor([0.1, 0.2]),
    "visual.proj": torch.tensor([[0.5, -0.5], [0.25, 1.0]]),
}


def values_of(tensors: dict[str, torch.Tensor], directory: Path) -> dict[str, HealthCheck]:
    save_file(tensors, directory / "model.safetensors")
    return {check.name: check for check in check_weights_values(directory / "model.safetensors")}


def test_whole_files_of_both_kinds_pass(tmp_path: Path) -> None:
    save_file(TRAINED, tmp_path / "model.safetensors")
    torch.save({"state_dict": TRAINED}, tmp_path / "model.pt")
    for name in ("model.safetensors", "model.pt"):
        (check,) = check_weights_file(tmp_path / name, None)
        assert check.verdict == "ok"
        assert {found.verdict for found in check_weights_values(tmp_path / name)} == {"ok"}


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.999])
def test_a_file_that_was_cut_short_is_a_problem(name: str, kept: float, tmp_path: Path) -> None:
    path = tmp_path / name
    if name.endswith(".pt"):
        torch.save(TRAINED, path)
    else:
        save_file(TRAINED, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    if name.endswith(".pt") and not kept:
        return  # an empty file says not even its kind; loading it is the error
    (check,) = check_weights_file(path, None)
    assert check.verdict == "problem"
    assert str(path) in check.figure


def test_a_file_that_is_too_long_says_both_sizes(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(TRAINED, path)
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(b"0123456789")
    (check,) = check_weights_file(path, None)
    assert f"has {size + 10:,} bytes, and its header says {size:,}" in check.figure


def test_a_changed_byte_of_a_torch_file_is_found_by_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(TRAINED, path)
    with zipfile.ZipFile(path) as archive:
        entry = next(item for item in archive.infolist() if item.filename.endswith("data/4"))
    content = bytearray(path.read_bytes())
    start = content.find(TRAINED["visual.proj"].numpy().tobytes())
    assert entry.file_size == 16
    content[start] ^= 1
    path.write_bytes(content)
    (check,) = check_weights_file(path, None)
    assert check.verdict == "problem"
    assert "whose checksum differs" in check.figure


def test_a_pointer_of_git_lfs_is_told_from_weights(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    (check,) = check_weights_file(path, None)
    assert "run  git lfs pull" in check.figure


def test_each_file_of_an_index_is_looked_at(tmp_path: Path) -> None:
    save_file(TRAINED, tmp_path / "one.safetensors")
    (tmp_path / "two.safetensors").write_bytes(b"short")
    index = tmp_path / "model.safetensors.index.json"
    names = {"a": "one.safetensors", "b": "two.safetensors"}
    index.write_text(json.dumps({"weight_map": names}))
    assert [check.verdict for check in check_weights_file(index, None)] == ["ok", "problem"]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_a_problem(bad: float, tmp_path: Path) -> None:
    wrong = {**TRAINED, "visual.proj": torch.tensor([[0.5, bad], [0.25, 1.0]])}
    check = values_of(wrong, tmp_path)["weights"]
    assert check.verdict == "problem"
    assert "the first is visual.proj" in check.figure


def test_a_matrix_of_one_number_is_a_remark(tmp_path: Path) -> None:
    check = values_of({**TRAINED, "visual.proj": torch.full((2, 2), 0.5)}, tmp_path)["weights"]
    assert check.verdict == "remark"
    assert "visual.proj" in check.figure


def test_an_encoder_that_was_never_trained_is_a_problem(tmp_path: Path) -> None:
    untrained = {**TRAINED, "ln_final.weight": torch.ones(2), "ln_final.bias": torch.zeros(2)}
    checks = values_of(untrained, tmp_path)
    assert checks["training of the image encoder"].verdict == "ok"
    one = {**TRAINED, "ln_final.bias": torch.zeros(2)}  # as a frozen or an unused one may be
    assert values_of(one, tmp_path)["training of the text encoder"].verdict == "ok"
    assert checks["training of the text encoder"].verdict == "problem"
    assert checks["training of the text encoder"].figure.startswith("2 of 2 normalisation tensors")


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_stored_numbers_are_read_as_torch_reads_them(kind: torch.dtype, tmp_path: Path) -> None:
    values = torch.tensor([[0.1, -2.5], [3e-5, 100.0]]).to(kind)
    path = tmp_path / "model.safetensors"
    save_file({"a": values, "n": torch.tensor([1, 2])}, path)
    ((name, found),) = stored_tensors(path)  # whole numbers are left out
    assert name == "a"
    np.testing.assert_array_equal(found.astype(np.float64), values.double().numpy())


def test_a_header_that_lies_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    header = json.dumps({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    (check,) = check_weights_values(path)
    assert check.verdict == "problem"
    assert "is damaged or cut short" in check.figure
