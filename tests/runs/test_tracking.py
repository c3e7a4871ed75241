"""Trackers that fail, hang or resume, played by one that does as it is told."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from clipkit.errors import TrainingError
from clipkit.progress import Callbacks
from clipkit.runs import tracking
from clipkit.runs.metrics_log import MetricsLog
from clipkit.runs.trackers import TrackedRun
from clipkit.runs.tracking import tracked
from clipkit.training.config import RunConfig
from clipkit.training.loop import Validation


class Recorder:
    """A tracker that keeps what it is told."""

    def __init__(self) -> None:
        self.runs: list[TrackedRun] = []
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.held: dict[str, int] = {}
        self.ends: list[bool] = []

    def start(self, run: TrackedRun) -> Mapping[str, int]:
        self.runs.append(run)
        return dict(self.held)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self.rows.append((step, dict(numbers)))
        self.held |= dict.fromkeys(numbers, step)

    def end(self, *, is_finished: bool) -> None:
        self.ends.append(is_finished)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """A tracker that is used instead of trackio."""
    recorder = Recorder()
    monkeypatch.setattr(tracking, "TRACKERS", {"trackio": lambda: recorder})
    return recorder


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    (tmp_path / "run").mkdir()
    return RunConfig.from_dict(
        {
            "output": str(tmp_path / "run"),
            "model": {"base": "starter"},
            "data": {"train": "photos"},
            "watch": {"trackers": ["trackio"], "tracker_project": "birds"},
        }
    )


@pytest.fixture
def warnings() -> list[str]:
    """What callbacks are warned of."""
    return []


def follow(config: RunConfig, warnings: list[str], steps: range, *, begin: int = 0) -> None:
    """Write lines as a run does that resumes after a step, with one validation before all."""
    directory = Path(config.output)
    with (
        tracked(config, Callbacks(warn=warnings.append), patience=20) as tell,
        MetricsLog(directory, step=begin, tell=tell) as log,
    ):
        if not begin:
            log.write_validation(0, Validation(0.25, {"recall@1": 0.5}))
        for step in steps:
            log.write(step, {"loss": step / 4, "lr": float("nan")})


def test_a_tracker_gets_each_line_once_in_order(
    config: RunConfig, recorder: Recorder, warnings: list[str]
) -> None:
    follow(config, warnings, range(1, 4))

    first = (0, {"score": 0.25, "recall@1": 0.5})
    assert recorder.rows == [first, *((step, {"loss": step / 4}) for step in (1, 2, 3))]
    assert (recorder.ends, warnings) == ([True], [])
    run = recorder.runs[0]
    assert (run.name, run.project) == ("run", "birds")
    assert run.settings["model"]["base"] == "starter"


def test_a_resumed_run_keeps_its_id_and_tells_only_what_is_new(
    config: RunConfig, recorder: Recorder, warnings: list[str]
) -> None:
    follow(config, warnings, range(1, 6))
    follow(config, warnings, range(4, 8), begin=3)  # 4 and 5 are taken again

    steps = [step for step, _ in recorder.rows]
    assert steps == [0, 1, 2, 3, 4, 5, 6, 7]
    assert recorder.runs[0].id == recorder.runs[1].id


def test_what_a_tracker_lost_is_told_again(
    config: RunConfig, recorder: Recorder, warnings: list[str]
) -> None:
    follow(config, warnings, range(1, 4))
    recorder.rows, recorder.held = [], {"score": 0, "recall@1": 0, "loss": 1}
    follow(config, warnings, range(4, 5), begin=3)

    assert [step for step, _ in recorder.rows] == [2, 3, 4]


@pytest.mark.parametrize("method", ["start", "log", "end"])
def test_a_tracker_that_fails_is_warned_of_once(
    config: RunConfig,
    recorder: Recorder,
    warnings: list[str],
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    def fail(*_: Any, **named: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recorder, method, fail)
    follow(config, warnings, range(1, 50))

    assert len(warnings) == 1
    assert warnings[0].startswith(
        "trackio cannot follow this run: OSError: [Errno 28] No space left on device. Training is"
    )
    assert len((Path(config.output) / "metrics.jsonl").read_text().splitlines()) == 50


def test_a_tracker_that_hangs_holds_nothing_up(
    config: RunConfig, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    warnings: list[str] = []
    monkeypatch.setattr(recorder, "start", lambda run: released.wait() and {})
    with tracked(config, Callbacks(warn=warnings.append), patience=0) as tell:
        tell({"step": 1, "kind": "training", "loss": 0.5})
    released.set()

    assert len(warnings) == 1
    assert "trackio cannot follow this run: it does not answer" in warnings[0]


def test_an_error_of_the_run_ends_the_tracker_as_unfinished(
    config: RunConfig, recorder: Recorder
) -> None:
    with pytest.raises(KeyError), tracked(config, Callbacks(), patience=20):
        raise KeyError
    assert recorder.ends == [False]


def test_a_file_where_the_trackers_folder_belongs_is_refused(
    config: RunConfig, recorder: Recorder
) -> None:
    (Path(config.output) / "trackers").write_text("mine")
    with (
        pytest.raises(TrainingError, match=r"trackers cannot be made: File exists: move .* away"),
        tracked(config, Callbacks()),
    ):
        pass
    assert recorder.runs == []
