"""What a run says, warns of and refuses before its first step."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from clipkit.errors import InputError
from clipkit.models.freezing import freeze_batch_norm
from clipkit.models.towers import Towers
from clipkit.progress import Callbacks
from clipkit.runs.build import Inputs, initial_towers
from clipkit.runs.data import open_data
from clipkit.runs.start_check import batch_norm_warnings, check_start
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
