"""What a run takes, foretold: measured against runs, and by a clock that is set by hand."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from clipkit.encoder.encoder import Encoder
from clipkit.progress import Callbacks
from clipkit.runs import estimate, rank_run
from clipkit.runs.build import initial_towers
from clipkit.runs.data import RunData, open_data
from clipkit.runs.preflight import check
from clipkit.runs.run import train
from clipkit.runs.validation import Measure, build_measure
from clipkit.training.config import RunConfig
from clipkit.training.loop import Validation
from tests.runs.conftest import WriteRun

QUIET = Callbacks(warn=lambda line: None)
BOTH = ("open_clip_model.safetensors", "training_state.pt")


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"watch": {"every_epochs": 0.4}},
        {"watch": {"wise_ft": False}},
        {"data": {"validation_fraction": 0.0}},  # the retention set alone
    ],
)
def test_a_fine_tuning_measures_as_often_as_was_foretold(
    fine_tune: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    config = RunConfig.from_toml(fine_tune(**changes))
    calls = count_calls(monkeypatch)

    found = check(config)
    train(config, callbacks=QUIET)

    assert found.num_validations == len(calls)
    assert found.validation_seconds > 0


@pytest.mark.parametrize("fraction", [0.25, 0.0])
def test_a_run_from_scratch_measures_as_often_as_was_foretold(
    write_run: WriteRun, monkeypatch: pytest.MonkeyPatch, fraction: float
) -> None:
    """Without pairs to measure on it takes no time."""
    config = RunConfig.from_toml(write_run(data={"validation_fraction": fraction}))
    calls = count_calls(monkeypatch)

    found = check(config)
    train(config, callbacks=QUIET)

    if fraction:
        assert found.num_validations == len(calls)
        seconds = found.num_validations * found.validation_seconds
        steps = found.epochs * found.steps_per_epoch * found.step_seconds
        assert found.hours == pytest.approx((seconds + steps) / 3600)
    assert (found.validation_seconds > 0) == bool(fraction)


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[Encoder]:
    """Return a list of the encoders that runs measure from now on."""
    calls: list[Encoder] = []

    def build(config: RunConfig, data: RunData) -> Measure:
        measure = build_measure(config, data)

        def counted(encoder: Encoder) -> Validation:
            calls.append(encoder)
            return measure(encoder)

        return counted

    monkeypatch.setattr(rank_run, "build_measure", build)
    return calls


@pytest.mark.parametrize("num", [20, 1000])
def test_a_large_set_takes_what_its_images_take_more_than_a_sample(
    write_run: WriteRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num: int
) -> None:
    """By a clock that a measurement moves by 10 seconds, and by 2 more for each image."""
    rows = [f"{number}.png,photo {number}" for number in range(num)]
    for number in range(num):
        (tmp_path / f"{number}.png").touch()
    (tmp_path / "held.csv").write_text("\n".join(["filepath,title", *rows]))
    path = write_run(data={"validation": str(tmp_path / "held.csv")})
    config = RunConfig.from_toml(path).resolve()
    clock = 0.0
    measured: list[int] = []

    def build(config: RunConfig, data: RunData) -> Measure:
        def measure(encoder: Encoder) -> Validation:
            nonlocal clock
            assert data.validation is not None
            measured.append(len(data.validation))
            clock += 10 + 2 * len(data.validation)
            return Validation(None, {})

        return measure

    monkeypatch.setattr(estimate, "build_measure", build)
    monkeypatch.setattr(time, "perf_counter", lambda: clock)

    seconds = estimate.time_validation(config, open_data(config), initial_towers(config))

    assert seconds == pytest.approx(10 + 2 * num)
    assert max(measured) <= 128


class DiskUsage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.mark.parametrize("decay", [0.0, 0.9])
@pytest.mark.parametrize("lock", [False, True])
def test_checkpoints_are_as_large_as_was_foretold(
    fine_tune: Callable[..., Path], *, lock: bool, decay: float
) -> None:
    path = fine_tune(
        model={"lock_image": lock}, compute={"epochs": 1}, optimizer={"ema_decay": decay}
    )
    config = RunConfig.from_toml(path)

    found = check(config)
    train(config, callbacks=QUIET)

    checkpoints = sorted(Path(config.output, "checkpoints").iterdir())
    sizes = [sum((path / name).stat().st_size for name in BOTH) for path in checkpoints]
    assert sizes == pytest.approx([found.checkpoint_bytes] * len(sizes), rel=0.02)
    assert len(sizes) <= found.disk_bytes // found.checkpoint_bytes == 4  # keep = 2


def test_a_disk_without_room_is_warned_of(
    write_run: WriteRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the run has there already, as one that is resumed, counts as room."""
    config = RunConfig.from_toml(write_run())
    needed = check(config).disk_bytes
    words = "make room, keep fewer checkpoints by watch.keep = 1, or choose an output elsewhere"
    monkeypatch.setattr(shutil, "disk_usage", lambda place: DiskUsage(0, 0, needed - 1000))

    found = check(config)
    folder = Path(config.output, "checkpoints")
    folder.mkdir(parents=True)
    (folder / "some").write_bytes(bytes(1000))
    resumed = check(config)

    assert sum(words in line for line in found.warnings) == 1
    assert found.free_bytes == needed - 1000
    assert not [line for line in resumed.warnings if words in line]
    assert resumed.free_bytes == needed
