"""Several processes compute what one does, and go on where they were killed."""

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
from tests.runs.clipkit_process import run_ranks
from tests.runs.conftest import Train, WriteRun, final_weights

SETTINGS: dict[str, dict[str, Any]] = {
    "infonce": {},
    "sigmoid in chunks": {"loss": {"kind": "sigmoid"}, "compute": {"chunk_size": 2}},
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
    assert "10 steps on 40 pairs" in first.out
    expected = load_file(one.with_suffix("") / "final" / "open_clip_model.safetensors")
    found = load_file(two.with_suffix("") / "final" / "open_clip_model.safetensors")
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        np.testing.assert_allclose(found[name], tensor, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def test_two_killed_processes_go_on_bit_for_bit(
    write_run: WriteRun, tmp_path: Path, sharding: str
) -> None:
    changes = {"compute": {"sharding": sharding}, "model": {"patch_dropout": 0.5}}
    whole, killed = write_run("whole", **changes), write_run("killed", **changes)
    run_ranks(["train", whole], tmp_path, world_size=2)
    words = ["train", killed, "--set", "watch.checkpoint_minutes=0"]

    ended = run_ranks(words, tmp_path, world_size=2, signal_at=(7, signal.SIGKILL))
    first, second = run_ranks(words, tmp_path, world_size=2)

    assert ended[0].status == -signal.SIGKILL
    assert (first.status, second.status) == (0, 0), first.err + second.err
    assert "going on after step 6 of 10" in first.err
    assert final_weights(killed) == final_weights(whole)


def test_torchrun_stopped_by_one_process_goes_on(write_run: WriteRun, train: Train) -> None:
    """Torchrun itself; the signal reaches one process, and both stop at the same step."""
    whole, stopped = write_run("whole"), write_run("stopped")
    assert train(whole).status == 0
    program = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [*program, "-m", "clipkit", "train", str(stopped)]

    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("10 steps on 40 pairs") == 1
    expected = load_file(whole.with_suffix("") / "final" / "open_clip_model.safetensors")
    found = load_file(stopped.with_suffix("") / "final" / "open_clip_model.safetensors")
    for name, tensor in expected.items():
        np.testing.assert_allclose(found[name], tensor, rtol=0, atol=1e-5, err_msg=name)
