"""A run that is interrupted and goes on ends where an undisturbed one does, bit for bit."""

import json
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.runs.clipkit_process import ClipkitProcess
from tests.runs.conftest import Train, WriteRun, final_weights

pytestmark = pytest.mark.slow

# What draws from torch's random state in every step, and what cuts a batch into portions.
SETTINGS: dict[str, dict[str, Any]] = {
    "patch dropout": {"model": {"patch_dropout": 0.5}},
    "GradCache": {"model": {"patch_dropout": 0.5}, "compute": {"chunk_size": 3}},
    "augmented": {"data": {"horizontal_flip": 0.5, "color_jitter": 0.5}},
    "average, half precision": {
        "model": {"patch_dropout": 0.5},
        "optimizer": {"ema_decay": 0.9},
        "data": {"validation_fraction": 0.2},
        "compute": {"batch_size": 6, "precision": "fp16"},
    },
    "steps of two batches": {
        "model": {"patch_dropout": 0.5},
        "compute": {"batch_size": 4, "accumulate_batches": 2, "chunk_size": 3},
    },
    "hard negatives": {"data": {"hard_negatives": 0.5}},
    "hard negatives in workers": {"data": {"hard_negatives": 0.25, "workers": 2}},
    "hard negatives in steps of two batches": {
        "data": {"hard_negatives": 0.5},
        "compute": {"batch_size": 4, "accumulate_batches": 2},
    },
    "sigmoid, validated": {
        "loss": {"kind": "sigmoid"},
        "data": {"validation_fraction": 0.2},
        "compute": {"batch_size": 6},
    },
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_killed_run_goes_on_bit_for_bit(write_run: WriteRun, train: Train, setting: str) -> None:
    whole = write_run("whole", **SETTINGS[setting])
    assert train(whole).status == 0
    # (killed after step, steps between checkpoints, goes on after step); 5 steps an epoch.
    cases = [(6, 5, 5), (8, 1, 7), (2, 0, 0)]

    for number, (killed_at, steps, goes_on_at) in enumerate(cases):
        killed = write_run(f"killed{number}", **SETTINGS[setting])
        words = (killed, "--set", f"watch.checkpoint_steps={steps}")
        first = train(*words, signal_at=(killed_at, signal.SIGKILL))
        second = train(*words)

        assert first.status == -signal.SIGKILL
        assert second.status == 0, second.err
        assert (f"resuming after step {goes_on_at} of 10" in second.err) == (goes_on_at > 0)
        assert final_weights(killed) == final_weights(whole)
        assert _measured(killed) == _measured(whole)


def test_run_killed_many_times_ends_as_the_undisturbed_one(
    write_run: WriteRun, train: Train, tmp_path: Path
) -> None:
    changes = {"model": {"patch_dropout": 0.5}, "data": {"validation_fraction": 0.2}}
    changes["compute"] = {"epochs": 6}
    whole, killed = write_run("whole", **changes), write_run("killed", **changes)
    assert train(whole).status == 0
    moments = random.Random(0)
    words = ["train", killed, "--set", "watch.checkpoint_minutes=0"]

    statuses = []
    for _ in range(15):
        process = ClipkitProcess(words, tmp_path)
        process.kill_after(moments.uniform(0.2, 1.2))
        statuses.append(process.outcome().status)
    last = train(*words[1:])

    assert last.status == 0, last.err
    assert statuses.count(-signal.SIGKILL) > 0
    assert final_weights(killed) == final_weights(whole)
    assert _measured(killed) == _measured(whole)


# A pattern in the paths of what is written, how often the run is killed there, and the last of the
# calls to the system about them at which that may be.
STAGES = [
    (r"/\.clipkit-\w+\.toml", 1, 3),
    ("/features", 2, 8),
    (r"\.jsonl", 1, 3),
    ("/tensorboard", 1, 3),
    ("/checkpoints", 6, 40),
    (r"/\.final\.", 2, 8),
    (r"run/\.clipkit-\w+\.png", 1, 2),
    (r"final/\.clipkit-\w+\.md", 1, 2),
    (r"run/\.clipkit-\w+\.json$", 1, 2),
]


def test_run_killed_at_every_stage_ends_as_the_undisturbed_one(
    write_run: WriteRun, train: Train, tmp_path: Path, tiny_checkpoint: Path, class_folder: Path
) -> None:
    """One that caches features, trains, validates, and interpolates (WiSE-FT)."""
    changes: dict[str, Any] = {
        "model": {"base": str(tiny_checkpoint), "lock_image": True},
        "data": {"crop_scale": [1.0, 1.0], "validation_fraction": 0.2},
        "watch": {"retention_set": str(class_folder), "checkpoint_minutes": 0, "keep": 1},
        "compute": {"epochs": 3},
    }
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole, killed = write_run("whole/run", **changes), write_run("killed/run", **changes)
    assert train(whole).status == 0
    moments = random.Random(0)

    for pattern, num_kills, last in STAGES:
        for _ in range(num_kills):
            kill_at = (pattern, moments.randint(1, last))
            assert train(killed, kill_at=kill_at).status == -signal.SIGKILL, kill_at
    ended = train(killed)

    assert ended.status == 0, ended.err
    directories = [path.with_suffix("") for path in (whole, killed)]
    expected, found = (_without_times(directory) for directory in directories)
    assert found == expected
    left = [path.name for path in directories[1].rglob(".*")]
    assert left == [".lock"]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_asked_to_stop_writes_its_last_step_and_goes_on(
    write_run: WriteRun, train: Train, number: signal.Signals, workers: int
) -> None:
    watch = {"log_steps": 4}  # so that a line is the mean of steps before the stop and after it
    whole = write_run("whole", watch=watch)
    stopped = write_run("stopped", data={"workers": workers}, watch=watch)
    assert train(whole).status == 0

    first = train(stopped, signal_at=(3, number))

    checkpoints = stopped.with_suffix("") / "checkpoints"
    assert first.status == 130
    assert first.out == ""
    assert "stopped after step 3 of 10; the same command resumes the run" in first.err
    assert [path.name for path in checkpoints.iterdir()] == ["step-00000003"]
    second = train(stopped)
    assert second.status == 0
    assert "resuming after step 3 of 10" in second.err
    assert final_weights(stopped) == final_weights(whole)
    assert _measured(stopped) == _measured(whole)


def _measured(run: Path) -> list[dict[str, Any]]:
    """Return the metrics of a run without how long things took; each step's only once."""
    entries = []
    for line in (run.with_suffix("") / "metrics.jsonl").read_text().splitlines():
        metrics = json.loads(line)
        timed = ("step_seconds", "data_seconds")
        entries.append({name: value for name, value in metrics.items() if name not in timed})
    assert set(Counter((entry["step"], entry["kind"]) for entry in entries).values()) == {1}
    return entries


def _without_times(directory: Path) -> dict[str, object]:
    """Return what a run leaves but for how long things took and where it lies."""
    files = {path.name: path.read_bytes() for path in (directory / "final").iterdir()}
    card = files["README.md"].splitlines()
    files["README.md"] = b"\n".join(line for line in card if not line.startswith(b"- hours: "))
    report = json.loads((directory / "report.json").read_text())
    report = {key: value for key, value in report.items() if key not in ("seconds", "directory")}
    checkpoints = sorted(path.name for path in (directory / "checkpoints").iterdir())
    metrics = _measured(directory.with_suffix(".toml"))
    return {**files, "report": report, "checkpoints": checkpoints, "metrics": metrics}
