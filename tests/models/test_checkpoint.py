"""Checkpoint directories: whole or not there, complete or refused."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from clipkit import files
from clipkit.errors import CheckpointError, MissingExtraError
from clipkit.models import checkpoint
from clipkit.models.checkpoint import load_towers, save_towers
from clipkit.models.sources import CONFIG_NAME, resolve_source
from clipkit.models.towers import Towers
from tests.models.conftest import Family, make_open_clip, tiny_config, write_directory

WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a tiny checkpoint that open_clip wrote."""
    config = tiny_config()
    write_directory(tmp_path / "tiny", make_open_clip(config), config)
    return tmp_path / "tiny"


@pytest.fixture
def towers(directory: Path) -> Towers:
    return load_towers(resolve_source(directory))


def _change_config(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((directory / CONFIG_NAME).read_text())
    change(config)
    (directory / CONFIG_NAME).write_text(json.dumps(config))


def _change_weights(directory: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(directory / WEIGHTS)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    change(tensors)
    save_file(tensors, directory / WEIGHTS)


def test_towers_are_in_float32_and_in_eval_mode_and_know_their_preprocess(towers: Towers) -> None:
    assert not any(module.training for module in towers.modules())
    assert {tensor.dtype for tensor in towers.state_dict().values()} == {torch.float32}
    assert towers.preprocess_cfg == {
        "size": 32,
        "mode": "RGB",
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.3, 0.4],
        "interpolation": "bicubic",
        "resize_mode": "squash",
        "fill_color": 0,
    }
    assert towers.image_size == (32, 32)
    assert towers.context_length == 16
    assert towers.embed_dim == 24
    assert towers.tokenizer_source.name == "bpe_simple_vocab_16e6.txt.gz"


def test_loading_leaves_the_random_state_of_the_process_alone(directory: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_towers(resolve_source(directory))
    assert torch.equal(torch.rand(3), expected)


def test_half_precision_storage_of_the_same_numbers_has_the_same_space_id(directory: Path) -> None:
    def to(dtype: torch.dtype) -> Callable[[dict[str, torch.Tensor]], None]:
        return lambda tensors: tensors.update({k: v.to(dtype) for k, v in tensors.items()})

    _change_weights(directory, to(torch.bfloat16))
    in_bf16 = load_towers(resolve_source(directory)).space_id("clip")
    _change_weights(directory, to(torch.float32))
    assert load_towers(resolve_source(directory)).space_id("clip") == in_bf16
    _change_weights(directory, lambda tensors: tensors["visual.proj"][0, 0].add_(0.5))
    assert load_towers(resolve_source(directory)).space_id("clip") != in_bf16


def test_a_saved_config_names_no_path_and_keeps_what_open_clip_has_no_word_for(
    family: Callable[[str], Family], tmp_path: Path
) -> None:
    case = family("hf-text")
    towers = load_towers(resolve_source(case.directory))
    towers.kept_dims = 20
    save_towers(towers, tmp_path / "saved", space_id="0123456789abcdef")

    text = (tmp_path / "saved" / CONFIG_NAME).read_text()
    config = json.loads(text)
    assert str(case.directory) not in text
    assert config["clipkit_cfg"] == {"kept_dims": 20, "space_id": "0123456789abcdef"}
    assert config["model_cfg"]["text_cfg"]["hf_model_name"] == "."
    assert config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] == "."
    names = {path.name for path in (tmp_path / "saved").iterdir()}
    assert names == {CONFIG_NAME, WEIGHTS, "config.json", "tokenizer.json", "tokenizer_config.json"}
    tokenizer = (tmp_path / "saved" / "tokenizer.json").read_bytes()
    assert tokenizer == (case.directory / "tokenizer.json").read_bytes()


def test_a_moved_directory_with_a_hugging_face_text_tower_loads(
    family: Callable[[str], Family], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = family("hf-text")
    save_towers(load_towers(resolve_source(case.directory)), tmp_path / "saved")
    (tmp_path / "saved").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)

    towers = load_towers(resolve_source("local-dir:moved"))

    with torch.inference_mode():
        features = towers.text_features(case.token_ids)
        assert torch.equal(features, case.model.encode_text(case.token_ids))
    assert towers.tokenizer_source == tmp_path / "moved"


def test_the_text_of_a_tokenizer_is_written_when_given(towers: Towers, tmp_path: Path) -> None:
    save_towers(towers, tmp_path / "saved", tokenizer_json='{"a": 1}')
    assert (tmp_path / "saved" / "tokenizer.json").read_text() == '{"a": 1}'


def test_weights_of_sigmoid_training_bring_their_bias(directory: Path, tmp_path: Path) -> None:
    _change_weights(directory, lambda tensors: tensors.update(logit_bias=torch.tensor([-9.5])))
    towers = load_towers(resolve_source(directory))
    assert towers.logit_bias == -9.5

    save_towers(towers, tmp_path / "saved")
    again = load_towers(resolve_source(tmp_path / "saved"))
    assert again.logit_bias == -9.5
    assert again.space_id("clip") == towers.space_id("clip")


def test_weights_of_another_class_of_the_same_architecture_load(directory: Path) -> None:
    expected = load_towers(resolve_source(directory)).state_dict()
    _change_config(directory, lambda config: config["model_cfg"].update(custom_text=True))
    towers = load_towers(resolve_source(directory))
    projection = towers.model.text.text_projection
    assert torch.equal(projection, expected["model.text_projection"])


MISFITS: dict[str, Callable[[dict[str, torch.Tensor]], object]] = {
    "visual.proj is missing": lambda tensors: tensors.pop("visual.proj"),
    "visual.extra is not in the architecture": (
        lambda tensors: tensors.update({"visual.extra": torch.ones(1)})
    ),
    r"visual.positional_embedding is \(10, 64\), not \(5, 64\)": (
        lambda tensors: tensors.update({"visual.positional_embedding": torch.ones(10, 64)})
    ),
    "and [0-9]+ more": lambda tensors: [
        tensors.pop(name) for name in list(tensors) if "resblocks" in name
    ],
}


@pytest.mark.parametrize("message", MISFITS)
def test_weights_of_another_architecture_are_refused(directory: Path, message: str) -> None:
    _change_weights(directory, MISFITS[message])
    with pytest.raises(CheckpointError, match=f"do not fit the architecture of .*{message}"):
        load_towers(resolve_source(directory))


BAD_CONFIGS: dict[str, Callable[[dict[str, Any]], object]] = {
    'has no "model_cfg", so it is not an open_clip config': lambda config: config.pop("model_cfg"),
    'has no valid "embed_dim" in its "model_cfg"': (
        lambda config: config["model_cfg"].update(embed_dim="wide")
    ),
    "open_clip cannot build the model that .* describes": (
        lambda config: config["model_cfg"]["vision_cfg"].update(widht=3)
    ),
    "takes its image tower from hf-hub:org/repo, outside the checkpoint": (
        lambda config: config["model_cfg"]["vision_cfg"].update(timm_model_name="hf-hub:org/repo")
    ),
    "kept_dims must be between 1 and 24, got 25": (
        lambda config: config.update(clipkit_cfg={"kept_dims": 25})
    ),
    "keeps 20 dimensions, but its image features are not zero past them": (
        lambda config: config.update(clipkit_cfg={"kept_dims": 20})
    ),
    "holds no config.json of a text tower, and its hf_model_name": (
        lambda config: config["model_cfg"]["text_cfg"].update(hf_model_name=".")
    ),
}


@pytest.mark.parametrize("message", BAD_CONFIGS)
def test_configs_that_describe_no_model_are_refused(
    directory: Path, message: str, no_network: list[str]
) -> None:
    _change_config(directory, BAD_CONFIGS[message])
    with pytest.raises(CheckpointError, match=message):
        load_towers(resolve_source(directory))
    assert no_network == []


def test_damaged_configs_and_missing_weights_are_refused(directory: Path) -> None:
    (directory / WEIGHTS).rename(directory / "one.safetensors")
    assert load_towers(resolve_source(directory)).embed_dim == 24, "the only weights file is it"
    (directory / "two.bin").write_bytes(b"")
    with pytest.raises(CheckpointError, match="2 weights files and none is called open_clip_model"):
        load_towers(resolve_source(directory))
    assert load_towers(resolve_source(directory / "one.safetensors")).embed_dim == 24
    for name in ("one.safetensors", "two.bin"):
        (directory / name).unlink()
    with pytest.raises(CheckpointError, match="holds no weights: it should have a open_clip_model"):
        load_towers(resolve_source(directory))
    (directory / CONFIG_NAME).write_text("{")
    with pytest.raises(CheckpointError, match=f"{CONFIG_NAME} cannot be read: "):
        load_towers(resolve_source(directory))


def test_a_text_config_with_code_of_its_own_is_refused(
    family: Callable[[str], Family], tmp_path: Path
) -> None:
    save_towers(load_towers(resolve_source(family("hf-text").directory)), tmp_path / "saved")
    for change in ({"auto_map": {"AutoModel": "evil.Evil"}}, {"model_type": "clip"}):
        content = json.loads((tmp_path / "saved" / "config.json").read_text())
        (tmp_path / "saved" / "config.json").write_text(json.dumps({**content, **change}))
        with pytest.raises(CheckpointError, match=r"holds no config\.json of a text tower"):
            load_towers(resolve_source(tmp_path / "saved"))


def test_kept_dims_keep_the_coordinates_that_are_not_zero(directory: Path) -> None:
    full = load_towers(resolve_source(directory))
    assert full.kept_dims is None

    def cut(tensors: dict[str, torch.Tensor]) -> None:
        tensors["visual.proj"][:, 20:] = 0
        tensors["text_projection"][:, 20:] = 0

    _change_weights(directory, cut)
    whole = load_towers(resolve_source(directory))
    _change_config(directory, lambda config: config.update(clipkit_cfg={"kept_dims": 20}))
    kept = load_towers(resolve_source(directory))
    token_ids = torch.ones(2, 16, dtype=torch.long)
    assert kept.embed_dim == 20
    assert kept.text_features(token_ids).shape == (2, 20)
    assert torch.equal(kept.text_features(token_ids), whole.text_features(token_ids)[:, :20])
    assert kept.space_id("clip") != whole.space_id("clip")


def test_something_else_is_not_overwritten(towers: Towers, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    (tmp_path / "file").write_bytes(b"file")
    for place in (tmp_path / "photos", tmp_path / "file"):
        with pytest.raises(CheckpointError, match=f"{place} exists and is not a checkpoint dir"):
            save_towers(towers, place)
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"cat"
    (tmp_path / "empty").mkdir()
    save_towers(towers, tmp_path / "empty")
    assert (tmp_path / "empty" / WEIGHTS).is_file()


def test_an_unwritable_place_is_a_checkpoint_error(towers: Towers, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CheckpointError, match="saved cannot be written: "):
        save_towers(towers, tmp_path / "file" / "saved")


@pytest.mark.parametrize("step", ["save_file", "put_in_place"])
def test_a_failure_while_saving_leaves_the_old_checkpoint_and_nothing_else(
    towers: Towers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    place = tmp_path / "here" / "saved"
    save_towers(towers, place)
    before = {path.name: path.read_bytes() for path in place.iterdir()}

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(checkpoint, step, fail)
    towers.model.logit_scale.data.fill_(1.0)
    with pytest.raises(CheckpointError, match="saved cannot be written: the disk is full"):
        save_towers(towers, place)

    assert {path.name: path.read_bytes() for path in place.iterdir()} == before
    assert list(place.parent.iterdir()) == [place]


@pytest.mark.parametrize("can_exchange", [True, False])
def test_saving_again_replaces_the_checkpoint(
    towers: Towers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    if not can_exchange:
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    place = tmp_path / "here" / "saved"
    save_towers(towers, place, tokenizer_json="{}")
    towers.model.logit_scale.data.fill_(1.0)
    save_towers(towers, place)

    assert load_towers(resolve_source(place)).logit_scale == 1.0
    assert not (place / "tokenizer.json").exists()
    assert list(place.parent.iterdir()) == [place]


SAVE_FOR_EVER = """
import sys, torch
from pathlib import Path
from clipkit.models.checkpoint import load_towers, save_towers
from clipkit.models.sources import resolve_source
torch.set_num_threads(1)
towers = load_towers(resolve_source(Path(sys.argv[1])))
print("ready", flush=True)
value = 0.0
while True:
    for parameter in towers.model.parameters():
        parameter.data.fill_(value)
    save_towers(towers, Path(sys.argv[2]))
    value += 1.0
"""


@pytest.mark.slow
def test_a_process_killed_while_saving_leaves_a_whole_checkpoint(
    towers: Towers, directory: Path, tmp_path: Path
) -> None:
    place = tmp_path / "here" / "saved"
    save_towers(towers, place)
    command = [sys.executable, "-c", SAVE_FOR_EVER, str(directory), str(place)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    values = set()
    deadline = time.monotonic() + 0.8
    while time.monotonic() < deadline:  # it is whole at every moment, not only after the kill
        values |= _whole_checkpoint_value(place)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()

    values |= _whole_checkpoint_value(place)
    assert len(values) > 2, "it was replaced while it was read"
    assert load_towers(resolve_source(place)).embed_dim == 24


def _whole_checkpoint_value(place: Path) -> set[float]:
    """Return the one value that every weight of a generation has; the first one has many."""
    tensors = load_file(place / WEIGHTS)
    values = {float(value) for tensor in tensors.values() for value in np.unique(tensor)}
    return values if len(values) == 1 else set()


def test_without_open_clip_the_extra_is_named(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = resolve_source(directory)
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingExtraError, match=r'pip install "clipkit\[torch\]"'):
        load_towers(source)


def test_without_torch_the_extra_is_named_and_names_still_resolve() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import importlib, clipkit.errors\n"
        "from clipkit.models.sources import resolve_source; resolve_source('ViT-B/32')\n"
        "for name in ('models.checkpoint', 'models.towers', 'models.weights', "
        "'runtime.torch_runtime'):\n"
        "    try: importlib.import_module('clipkit.' + name)\n"
        "    except clipkit.errors.MissingExtraError as e: assert 'clipkit[torch]' in str(e)\n"
        "    else: raise SystemExit(name)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
