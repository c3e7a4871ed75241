"""Several processes compute what one does, and go on where they were killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.conftest import ROOT
from tests.models.conftest import tiny_config
from tests.runs.clipkit_process import run_ranks
from tests.runs.conftest import TEXT, Train, WriteRun, final_weights, save_shards

pytestmark = pytest.mark.slow

SETTINGS: dict[str, dict[str, Any]] = {
    "infonce": {},
    "sigmoid in chunks": {"loss": {"kind": "sigmoid"}, "compute": {"chunk_size": 2}},
    "averages over two batches": {
        "optimizer": {"ema_decay": 0.9},
        "compute": {"accumulate_batches": 2, "epochs": 3},
    },
    "averages of split weights over two batches": {
        "optimizer": {"ema_decay": 0.9},
        "compute": {"sharding": "fsdp", "accumulate_batches": 2, "epochs": 3},
    },
    "split weights": {"compute": {"sharding": "fsdp"}},
    "split weights in chunks": {"compute": {"sharding": "fsdp", "chunk_size": 2}},
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_two_processes_reach_the_weights_of_one(
    write_run: WriteRun, train: Train, tmp_path: Path, setting: str
) -> None:
    one, two = write_run("one", **SETTINGS[setting]), write_run("two", **SETTINGS[setting])

    assert train(one).status == 0
    first, second = run_ranks(["train", two], tmp_path, world_size=2)

    assert (first.status, second.status) == (0, 0), first.err + second.err
    assert (second.out, second.err) == ("", "")
    num_steps = 6 if "two batches" in setting else 10
    assert f"{num_steps} steps on 40 pairs" in first.out
    assert_equal_weights(one, two)


@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def test_two_processes_reach_the_adapters_of_one(
    write_run: WriteRun, train: Train, tiny_checkpoint: Path, tmp_path: Path, sharding: str
) -> None:
    changes: dict[str, Any] = {
        "model": {"base": str(tiny_checkpoint), "lora_rank": 3},
        "compute": {"sharding": sharding, "chunk_size": 2, "epochs": 1},
        "watch": {"wise_ft": False},
    }
    one, two = write_run("one", **changes), write_run("two", **changes)

    assert train(one).status == 0
    first, second = run_ranks(["train", two], tmp_path, world_size=2)

    assert (first.status, second.status) == (0, 0), first.err + second.err
    assert_equal_weights(one, two)


def test_split_weights_of_a_convolutional_tower_are_those_of_one(
    write_run: WriteRun, train: Train, tmp_path: Path
) -> None:
    """With its batch norm frozen: two processes would see the means of halves of the batch."""
    architecture = tmp_path / "resnet.json"
    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
    architecture.write_text(json.dumps(tiny_config(vision_cfg=vision, text_cfg=TEXT)))
    changes: dict[str, Any] = {
        "model": {"architecture": str(architecture), "freeze_batch_norm": True},
        "compute": {"sharding": "fsdp", "epochs": 1},
    }
    one, two = write_run("one", **changes), write_run("two", **changes)

    assert train(one).status == 0
    first, second = run_ranks(["train", two], tmp_path, world_size=2)

    assert (first.status, second.status) == (0, 0), first.err + second.err
    assert_equal_weights(one, two)


@pytest.mark.parametrize("frozen", [False, True])
def test_two_processes_on_a_cpu_warn_of_batch_norm_that_is_trained(
    write_run: WriteRun, tmp_path: Path, *, frozen: bool
) -> None:
    architecture = tmp_path / "resnet.json"
    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
    architecture.write_text(json.dumps(tiny_config(vision_cfg=vision, text_cfg=TEXT)))
    model = {"architecture": str(architecture), "freeze_batch_norm": frozen}
    path = write_run(model=model, compute={"epochs": 1})

    first, second = run_ranks(["train", path], tmp_path, world_size=2)

    warned = "warning: batch norm is trained, and on cpu each of the 2 processes normalizes by its"
    assert (warned in first.err) is not frozen
    assert (first.status, second.status, second.err) == (0, 0, "")


@pytest.mark.parametrize("settings", [{}, {"ema_decay": 0.9}])
@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def test_two_killed_processes_go_on_bit_for_bit(
    write_run: WriteRun, tmp_path: Path, sharding: str, settings: dict[str, float]
) -> None:
    """With an average also in half precision, where early steps are skipped."""
    precision = "fp16" if settings else "fp32"
    changes: dict[str, Any] = {
        "compute": {"sharding": sharding, "precision": precision},
        "optimizer": settings,
        "model": {"patch_dropout": 0.5},
    }
    whole, killed = write_run("whole", **changes), write_run("killed", **changes)
    run_ranks(["train", whole], tmp_path, world_size=2)
    words = ["train", killed, "--set", "watch.checkpoint_minutes=0"]

    ended = run_ranks(words, tmp_path, world_size=2, signal_at=(7, signal.SIGKILL))
    first, second = run_ranks(words, tmp_path, world_size=2)

    assert ended[0].status == -signal.SIGKILL
    assert (first.status, second.status) == (0, 0), first.err + second.err
    assert "resuming after step 6 of 10" in first.err
    assert final_weights(killed) == final_weights(whole)


def test_run_goes_on_with_another_number_of_processes(
    write_run: WriteRun, train: Train, tmp_path: Path
) -> None:
    whole, killed = write_run("whole"), write_run("killed")
    assert train(whole).status == 0

    train(killed, "--set", "watch.checkpoint_steps=5", signal_at=(7, signal.SIGKILL))
    first, second = run_ranks(["train", killed], tmp_path, world_size=2)

    assert (first.status, second.status) == (0, 0), first.err + second.err
    assert "resuming after step 5 of 10" in first.err
    assert_equal_weights(whole, killed)


def test_an_average_of_split_weights_goes_on_in_one_process(
    write_run: WriteRun, train: Train, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"optimizer": {"ema_decay": 0.9}, "compute": {"sharding": "fsdp"}}
    whole, killed = write_run("whole", **changes), write_run("killed", **changes)
    assert train(whole).status == 0
    words = ["train", killed, "--set", "watch.checkpoint_steps=5"]

    run_ranks(words, tmp_path, world_size=2, signal_at=(7, signal.SIGKILL))
    ended = train(killed)

    assert ended.status == 0, ended.err
    assert "resuming after step 5 of 10" in ended.err
    assert_equal_weights(whole, killed)


def test_what_two_processes_cannot_do_ends_both(write_run: WriteRun, tmp_path: Path) -> None:
    uneven, taken = write_run("uneven", compute={"batch_size": 7}), write_run("taken")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter.txt").write_text("dear")

    uneven_ended = run_ranks(["train", uneven], tmp_path, world_size=2)
    taken_ended = run_ranks(["train", taken], tmp_path, world_size=2)

    first, second = uneven_ended
    assert (first.status, second.status) == (2, 2)
    assert "batch_size is 7, which 2 processes cannot share evenly: take 6" in first.err
    first, second = taken_ended
    assert (first.status, second.status) == (2, 2)
    assert first.err.endswith("holds something that is no training run: choose another output\n")
    assert second.err == ""  # the first one has said why


def test_both_processes_stop_when_one_is_asked_to(
    write_run: WriteRun, train: Train, tmp_path: Path
) -> None:
    whole, stopped = write_run("whole"), write_run("stopped")
    run_ranks(["train", whole], tmp_path, world_size=2)

    ended = run_ranks(["train", stopped], tmp_path, world_size=2, signal_at=(3, signal.SIGTERM))
    goes_on = run_ranks(["train", stopped], tmp_path, world_size=2)

    assert [outcome.status for outcome in ended] == [130, 130]
    assert "stopped after step 3 of 10" in ended[0].err
    assert ended[1].err == ""
    assert "resuming after step 3 of 10" in goes_on[0].err
    assert final_weights(stopped) == final_weights(whole)


def test_two_processes_on_shards_reach_the_weights_of_one(
    write_run: WriteRun, train: Train, captions_folder: Path, tmp_path: Path
) -> None:
    save_shards(tmp_path, captions_folder, 10)
    data = {"train": str(tmp_path / "{0..3}.tar"), "validation_fraction": 0.2}
    one, two = write_run("one", data=data), write_run("two", data=data)

    assert train(one).status == 0
    first, second = run_ranks(["train", two], tmp_path, world_size=2)

    assert (first.status, second.status) == (0, 0), first.err + second.err
    assert second.err == ""
    assert_equal_weights(one, two)


def test_torchrun_runs_the_command(write_run: WriteRun, train: Train) -> None:
    one, two = write_run("one"), write_run("two")
    assert train(one).status == 0
    program = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [*program, "-m", "clipkit", "train", str(two)]

    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("10 steps on 40 pairs") == 1
    assert_equal_weights(one, two)


def assert_equal_weights(first: Path, second: Path) -> None:
    """Compare the final weights of two runs."""
    expected, found = (
        load_file(path.with_suffix("") / "final" / "open_clip_model.safetensors")
        for path in (first, second)
    )
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        np.testing.assert_allclose(found[name], tensor, rtol=0, atol=1e-5, err_msg=name)
