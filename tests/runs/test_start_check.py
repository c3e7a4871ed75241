"""What a run says, warns of and refuses before its first step."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from clipkit.errors import InputError
from clipkit.models.freezing import freeze_batch_norm
from clipkit.models.towers import Towers
from clipkit.progress import Callbacks
from clipkit.runs.build import Inputs, initial_towers
from clipkit.runs.data import open_data
from clipkit.runs.start_check import architecture_warnings, batch_norm_warnings, check_start
from clipkit.training.config import RunConfig
from clipkit.training.distributed import Ranks
from tests.models.conftest import tiny_config
from tests.runs.conftest import TEXT, WriteRun


def test_pairs_are_said_and_settings_are_warned_of(
    write_run: WriteRun, captions_folder: Path
) -> None:
    said: list[str] = []
    warned: list[str] = []

    start(write_run(), Callbacks(say=said.append, warn=warned.append))

    assert said == [f"{captions_folder}: 40 pairs to train on"]
    assert len(warned) == 2  # 10 steps, and a batch of 8
    assert warned[0].startswith("the run has 10 steps")
    assert warned[1].startswith("in a batch of 8 a pair is learnt against 7 others")


def test_equal_captions_are_refused_where_nobody_is_told_too(
    write_run: WriteRun, captions_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(captions_folder, folder)
    for path in folder.glob("*.txt"):
        path.write_text("a photo")
    with pytest.raises(InputError, match="all 40 pairs have the same caption"):
        start(write_run(data={"train": str(folder)}), None)


NATIVE: dict[str, Any] = {"vision_cfg": {}, "text_cfg": {}}
HUB_TEXT = {**NATIVE, "text_cfg": {"hf_model_name": "roberta-base"}}
RANDOM_TEXT = {**NATIVE, "text_cfg": {**HUB_TEXT["text_cfg"], "hf_model_pretrained": False}}
HOLES = {**NATIVE, "vision_cfg": {"patch_dropout": 0.5}}
HUB_IMAGE = {**NATIVE, "vision_cfg": {"timm_model_pretrained": True}}


@pytest.mark.parametrize(
    ("model", "model_cfg", "start"),
    [
        ({}, NATIVE, ""),
        ({}, RANDOM_TEXT, ""),
        ({"lock_image": True}, NATIVE, "model.lock_image keeps an encoder that has random weights"),
        ({"lock_text": True}, NATIVE, "model.lock_text keeps an encoder that has random weights"),
        (
            {},
            HOLES,
            "the architecture's patch_dropout 0.5 is not used: set model.patch_dropout = 0.5",
        ),
        ({"patch_dropout": 0.5}, HOLES, ""),
        ({}, HUB_TEXT, "the text encoder begins with random weights, and in open_clip_train "),
        ({}, HUB_IMAGE, "the image encoder begins with random weights, and in open_clip_train "),
    ],
)
def test_what_an_architecture_brings_in_open_clip_and_not_here_is_warned_of(
    model: dict[str, Any], model_cfg: dict[str, Any], start: str
) -> None:
    data = {"train": "photos"}
    scratch = {"output": "run", "model": {"architecture": "a", **model}, "data": data}
    warned = list(architecture_warnings(RunConfig.from_dict(scratch), model_cfg))
    assert len(warned) == bool(start)
    assert all(line.startswith(start) for line in warned)
    tuned = {"output": "run", "model": {"base": "starter", **model}, "data": data}
    assert not list(architecture_warnings(RunConfig.from_dict(tuned), model_cfg))


@pytest.mark.parametrize(
    ("environment", "count"),
    [
        ({}, 0),
        ({"SLURM_STEP_NUM_TASKS": "1"}, 0),
        ({"SLURM_STEP_NUM_TASKS": "8"}, 1),
        ({"SLURM_STEP_NUM_TASKS": "2", "WORLD_SIZE": "16"}, 0),  # torchrun in each of two tasks
    ],
)
def test_a_task_of_several_that_trains_by_itself_is_warned_of(
    environment: dict[str, str],
    count: int,
    write_run: WriteRun,
    captions_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("SLURM_STEP_NUM_TASKS", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    warned: list[str] = []
    start(write_run(), Callbacks(warn=warned.append))
    assert len([line for line in warned if line.startswith("Slurm started this 8 times")]) == count


def start(path: Path, callbacks: Callbacks | None) -> None:
    config = RunConfig.from_toml(path).resolve()
    towers = initial_towers(config)
    data = open_data(config)
    check_start(config, data, towers, Inputs.of(towers).tokenizer, callbacks=callbacks)


@pytest.fixture
def resnet(write_run: WriteRun, tmp_path: Path) -> Towers:
    """Towers with batch norm."""
    architecture = tmp_path / "resnet.json"
    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
    architecture.write_text(json.dumps(tiny_config(vision_cfg=vision, text_cfg=TEXT)))
    path = write_run(model={"architecture": str(architecture)})
    return initial_towers(RunConfig.from_toml(path).resolve())


@pytest.mark.parametrize(
    ("world_size", "device", "count"),
    [(1, "cpu", 0), (2, "cpu", 1), (2, "mps", 1), (1, "cuda", 0), (2, "cuda", 0)],
)
def test_batch_norm_that_processes_do_not_share_is_warned_of(
    resnet: Towers, world_size: int, device: str, count: int
) -> None:
    """torch shares it on CUDA only, and one process has nobody to share it with."""
    ranks, place = Ranks(world_size=world_size), torch.device(device)
    assert len(list(batch_norm_warnings(resnet, ranks, place))) == count
    freeze_batch_norm(resnet)
    assert not list(batch_norm_warnings(resnet, ranks, place))
