"""Damaged checkpoints, full disks and divergence: what a run says, keeps and takes instead."""

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clipkit.errors import CheckpointError, TrainingError
from clipkit.progress import Callbacks, Progress
from clipkit.runs import finalize, metrics_log, rank_run
from clipkit.runs.metrics_log import read_metrics
from clipkit.runs.recovery import resumable
from clipkit.runs.run import train
from clipkit.training.checkpoints import RunCheckpoints
from clipkit.training.config import RunConfig
from clipkit.training.loop import Validation
from clipkit.training.step_calls import StepCalls
from tests.full_disk import full_disk
from tests.runs.conftest import WriteRun, final_weights

# Tiny runs are warned of: few steps, small batches, few pairs to validate on.
pytestmark = pytest.mark.filterwarnings("ignore::clipkit.errors.ClipkitWarning")

WEIGHTS, STATE = "open_clip_model.safetensors", "training_state.pt"


def stop_after(config: RunConfig, num_steps: int) -> None:
    """Leave a run in a step; the ones before it are saved."""
    watch = replace(config.watch, checkpoint_steps=1, keep=99)

    def stop(done: int, total: int | None) -> None:
        if done == num_steps:
            raise KeyboardInterrupt

    def progress_for(label: str) -> AbstractContextManager[Progress]:
        return nullcontext(stop if label == "training" else lambda done, total: None)

    with pytest.raises(KeyboardInterrupt):
        train(replace(config, watch=watch), callbacks=Callbacks(progress_for=progress_for))


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def checkpoint(config: RunConfig, step: int) -> Path:
    return RunCheckpoints(Path(config.output) / "checkpoints").path(step)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[float]], None]:
    """Return a function that says which scores are measured, one after the other."""

    def set_scores(scores: Sequence[float]) -> None:
        left = iter(scores)
        measure = lambda encoder: Validation(next(left), {})  # noqa: E731
        monkeypatch.setattr(rank_run, "build_measure", lambda *_: measure)

    return set_scores


# Damage


def test_resuming_before_damaged_checkpoints_is_said(write_run: WriteRun) -> None:
    config = RunConfig.from_toml(write_run())
    stop_after(config, 5)
    flip(checkpoint(config, 4) / STATE)
    (checkpoint(config, 3) / WEIGHTS).unlink()
    lines: list[str] = []
    warned: list[str] = []

    report = train(config, callbacks=Callbacks(say=lines.append, warn=warned.append))

    assert warned[-2:] == [
        f"{checkpoint(config, 4)} is damaged and is skipped: {STATE}",
        f"{checkpoint(config, 3)} is damaged and is skipped: {WEIGHTS}",
    ]
    assert report.warnings == tuple(warned)
    assert "resuming after step 2 of 10" in lines
    assert report.is_finished
    steps = [entry["step"] for entry in read_metrics(Path(config.output)) if "loss" in entry]
    assert steps == list(range(1, 11))


def test_a_run_whose_checkpoints_are_all_damaged_is_refused_and_kept(write_run: WriteRun) -> None:
    """Put back, it resumes; without them it starts again."""
    config = RunConfig.from_toml(write_run())
    stop_after(config, 3)
    for step in (1, 2):
        flip(checkpoint(config, step) / WEIGHTS)
    directory = Path(config.output)
    log = (directory / "metrics.jsonl").read_bytes()
    words = (
        rf"all checkpoints of this run are damaged \({checkpoint(config, 2)}: {WEIGHTS}; .*"
        rf"Put good copies .* or delete {directory / 'checkpoints'}, and the same command starts"
    )

    with pytest.raises(TrainingError, match=words):
        train(config)

    assert (directory / "metrics.jsonl").read_bytes() == log
    assert RunCheckpoints(directory / "checkpoints").steps() == [1, 2]
    flip(checkpoint(config, 2) / WEIGHTS)
    lines: list[str] = []
    stop_after(config, 3)
    shutil.rmtree(directory / "checkpoints")
    assert train(config, callbacks=Callbacks(say=lines.append)).is_finished
    assert not any("resuming" in line for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [flip, Path.unlink], ids=["a bit", "gone"])
def test_the_end_takes_the_best_good_weights_and_says_so(
    write_run: WriteRun,
    measured: Callable[[Sequence[float]], None],
    damage: Callable[[Path], None],
) -> None:
    """Four epochs of four steps; the best of the second is damaged in the last moment."""
    measured([0.1, 0.3, 0.9, 0.2, 0.2, 0.3])  # at the start, after each epoch, of the final weights
    path = write_run(data={"validation_fraction": 0.2}, compute={"epochs": 4}, watch={"keep": 9})
    config = RunConfig.from_toml(path)

    def say(line: str) -> None:
        if line == "choosing the final weights":
            damage(checkpoint(config, 8) / WEIGHTS)

    report = train(config, callbacks=Callbacks(say=say))

    assert (report.best_step, report.step) == (4, 16)
    assert report.notes[0] == (
        f"the best checkpoint {checkpoint(config, 8)} is damaged: {WEIGHTS}. Step 4 is the best "
        "of those that are good"
    )
    assert final_weights(path) == (checkpoint(config, 4) / WEIGHTS).read_bytes()


@pytest.mark.slow
def test_later_weights_become_the_best_when_the_best_are_lost(
    write_run: WriteRun, measured: Callable[[Sequence[float]], None]
) -> None:
    """0.9 after the second epoch is lost; of what is left 0.3 is the best, and 0.5 is better."""
    path = write_run(data={"validation_fraction": 0.2}, compute={"epochs": 4}, watch={"keep": 9})
    config = RunConfig.from_toml(path)
    measured([0.1, 0.3, 0.9])
    stop_after(config, 11)
    shutil.rmtree(checkpoint(config, 8))
    measured([0.5, 0.4, 0.5])

    warned: list[str] = []

    report = train(config, callbacks=Callbacks(warn=warned.append))

    assert "step-00000008 is gone. Step 4 is the best of those" in warned[-1]
    assert report.best_step == 12
    assert final_weights(path) == (checkpoint(config, 12) / WEIGHTS).read_bytes()


@pytest.mark.slow
def test_an_end_without_a_good_checkpoint_is_refused(write_run: WriteRun) -> None:
    config = RunConfig.from_toml(write_run())

    def say(line: str) -> None:
        if line == "choosing the final weights":
            flip(checkpoint(config, 10) / WEIGHTS)

    with pytest.raises(TrainingError, match=r"step-00000010 is damaged: .*no other one is good"):
        train(config, callbacks=Callbacks(say=say))
    assert not (Path(config.output) / "final").exists()


# A full disk


@pytest.mark.parametrize(
    ("name", "flush_seconds"), [("metrics.jsonl", math.inf), ("tensorboard", -1)]
)
def test_a_log_without_room_is_named_and_nothing_is_lost(
    write_run: WriteRun, monkeypatch: pytest.MonkeyPatch, name: str, flush_seconds: float
) -> None:
    """2000 bytes are enough for run.toml, and for some steps of either."""
    config = RunConfig.from_toml(write_run())
    monkeypatch.setattr(metrics_log, "_FLUSH_SECONDS", flush_seconds)
    words = (
        rf"^{Path(config.output) / name}: File too large\. Make room, .*; the same command starts "
        "from the first step, as there is no checkpoint yet$"
    )

    with full_disk(2000), pytest.raises(TrainingError, match=words):
        train(config)

    assert train(config).is_finished
    lines = (Path(config.output) / "metrics.jsonl").read_text().splitlines()
    steps = [entry["step"] for entry in map(json.loads, lines) if "loss" in entry]
    assert steps == list(range(1, 11))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("save_towers", "final"),
        ("draw_curves", "curves.png"),
        ("write_text", "final/README.md"),
        ("write_report", "report.json"),
    ],
)
def test_an_end_without_room_is_named_and_made_again(
    write_run: WriteRun, monkeypatch: pytest.MonkeyPatch, call: str, name: str
) -> None:
    config = RunConfig.from_toml(write_run())
    original = getattr(finalize, call)

    def without_room(*args: Any, **options: Any) -> None:
        with full_disk(100):
            original(*args, **options)

    words = rf"^{Path(config.output) / name}\b.*File too large.*\. Make room, .* after step 10$"
    with monkeypatch.context() as patched:
        patched.setattr(finalize, call, without_room)
        with pytest.raises(TrainingError, match=words):
            train(config)
    lines: list[str] = []
    report = train(config, callbacks=Callbacks(say=lines.append))

    assert "resuming after step 10 of 10" in lines
    assert report.is_finished
    assert report.checkpoint.is_dir()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left", "/a/b"), "^/a/b: No space left. Make room, "),
        (OSError("it is gone"), "^it is gone. Make room, "),
        (CheckpointError("/a cannot be written"), "^/a cannot be written. Make room, "),
    ],
)
def test_what_cannot_be_written_is_an_error_of_training(
    tmp_path: Path, error: Exception, words: str
) -> None:
    calls = StepCalls(Callbacks())
    with pytest.raises(TrainingError, match=words), resumable(RunCheckpoints(tmp_path), calls):
        raise error
    calls.error = error  # that a callback raised
    with pytest.raises(type(error)), resumable(RunCheckpoints(tmp_path), calls):
        raise error


# Divergence


@pytest.mark.parametrize("weight_decay", [0.0, 1e30])
@pytest.mark.parametrize("watch", [{}, {"every_epochs": 0.2}, {"checkpoint_steps": 1}])
def test_weights_that_one_step_ruins_are_neither_saved_nor_final(
    write_run: WriteRun, watch: dict[str, float], weight_decay: float
) -> None:
    """AdamW moves a weight by its learning rate: one of 1e30 is finite, its features are not.

    With such a decay as well it is beyond 3.4e38, where float32 ends.
    """
    compute = {"batch_size": 32, "epochs": 1}
    data = {"validation_fraction": 0.2}
    optimizer = {"lr": 1e30, "warmup_fraction": 0.0, "weight_decay": weight_decay}
    config = RunConfig.from_toml(
        write_run(compute=compute, data=data, optimizer=optimizer, watch=watch)
    )

    what = "weights are" if weight_decay else "features are zero or"
    words = f"^after step 1 the {what} not finite: .* Start again with a lower"
    with pytest.raises(TrainingError, match=words):
        train(config)

    directory = Path(config.output)
    assert not (directory / "checkpoints").exists()
    assert not (directory / "final").exists()


# Rights


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
@pytest.mark.parametrize("mask", [0o002, 0o027])
def test_who_may_read_and_write_a_run_is_what_the_umask_says(
    write_run: WriteRun, tiny_checkpoint: Path, mask: int
) -> None:
    path = write_run(
        model={"base": str(tiny_checkpoint), "lock_image": True}, data={"crop_scale": [1.0, 1.0]}
    )
    with umask(mask):
        train(RunConfig.from_toml(path))

    found = [path.with_suffix(""), *path.with_suffix("").rglob("*")]
    assert {"final", "checkpoints", "features", ".lock"} <= {item.name for item in found}
    modes = {item: item.stat().st_mode & 0o777 for item in found}
    assert modes == {item: (0o777 if item.is_dir() else 0o666) & ~mask for item in found}
