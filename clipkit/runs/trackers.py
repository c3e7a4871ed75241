"""Experiment trackers: Weights & Biases, MLflow and trackio, behind one protocol.

None is imported before it starts. Without settings of their own in the environment all three write
to this machine alone.
"""

import logging
import os
import posixpath
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from io import TextIOBase
from pathlib import Path
from shutil import rmtree
from threading import get_ident
from time import time
from typing import Any, Protocol

from clipkit.errors import MissingExtraError
from clipkit.files import draft_beside
from clipkit.training.config import TrackerName

_RUN_TAG = "clipkit_run"
_MOST_LETTERS = 500  # of a parameter, in every version of MLflow's database


@dataclass(frozen=True)
class TrackedRun:
    """The run that a tracker is told of."""

    id: str  # the same when the run resumes
    name: str
    project: str
    settings: Mapping[str, Any]  # sections and keys, as run.toml has them
    directory: Path  # where a tracker that writes files may do so
    say: Callable[[str], None]  # called with a line for a person


class Tracker(Protocol):
    """A library that shows the numbers of runs. Each method may raise anything.

    Making one imports the library, in the main thread: a process that is forked to read images
    while another thread imports would wait for that thread's locks for ever.
    """

    def start(self, run: TrackedRun) -> Mapping[str, int]:
        """Begin a run, or continue the one with its id.

        Args:
            run: The run.

        Returns:
            The last step of each metric that it holds already, by name.
        """

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Take numbers by name, measured after a step."""

    def end(self, *, is_finished: bool) -> None:
        """Write out what is buffered; the run may be continued later if it is not finished."""


class WandbTracker:
    """Weights & Biases: online where WANDB_MODE and an API key say so, else in files to upload."""

    def __init__(self) -> None:
        import wandb

        self._wandb: Any = wandb

    def start(self, run: TrackedRun) -> Mapping[str, int]:
        """Begin or continue a run; offline the files of this run are written anew as a whole."""
        wandb = self._wandb
        mode = os.environ.get("WANDB_MODE") or "online"
        if mode not in ("offline", "disabled", "dryrun") and not wandb.login(
            prompt=False, verify=False
        ):
            mode = "offline"
            run.say(
                "no API key of wandb is configured, so the run is kept in files; upload it with  "
                f"wandb sync {run.directory / 'wandb'}/offline-run-*"
            )
        if mode == "offline":
            # A killed process leaves a file that lacks its last lines, or all.
            for old in (run.directory / "wandb").glob(f"offline-run-*-{run.id}"):
                rmtree(old)
        self._run = wandb.init(
            project=run.project,
            name=run.name,
            id=run.id,
            resume="allow",
            config=dict(run.settings),
            dir=run.directory,
            mode=mode,
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                save_code=False,
                x_disable_meta=True,
                x_disable_stats=True,
            ),
        )
        last = self._run.starting_step - 1
        return defaultdict(lambda: last)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Take numbers."""
        self._run.log(dict(numbers), step=step)

    def end(self, *, is_finished: bool) -> None:
        """Write out what is buffered."""
        self._run.finish(exit_code=0 if is_finished else 1)


class MlflowTracker:
    """MLflow: the server or database of MLFLOW_TRACKING_URI, else a database of the run's own."""

    def __init__(self) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        import mlflow

        self._mlflow: Any = mlflow

    def start(self, run: TrackedRun) -> Mapping[str, int]:
        """Begin a run, or continue the one that is tagged with its id."""
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        database = run.directory / "mlflow.db"
        place = os.environ.get("MLFLOW_TRACKING_URI")
        if not place:
            place = f"sqlite:///{database}"
            self._make(database)
            run.say(f"to look at what MLflow is told:  mlflow ui --backend-store-uri {place}")
        self._client = self._mlflow.MlflowClient(place)
        experiment = self._client.get_experiment_by_name(run.project)
        number = experiment.experiment_id if experiment else self._create(run)
        found = self._client.search_runs([number], f"tags.{_RUN_TAG} = '{run.id}'")
        if found:
            self._id = found[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            return _Held({name: self._last_step(name) for name in found[0].data.metrics})
        tags = {_RUN_TAG: run.id}
        self._id = self._client.create_run(number, tags=tags, run_name=run.name).info.run_id
        param = self._mlflow.entities.Param
        settings = [
            param(name, str(value)[:_MOST_LETTERS]) for name, value in _flat(run.settings).items()
        ]
        for first in range(0, len(settings), 100):  # as many as a call takes
            self._client.log_batch(self._id, params=settings[first : first + 100])
        return {}

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Take numbers."""
        now = int(time() * 1000)
        metric = self._mlflow.entities.Metric
        metrics = [metric(_allowed(name), value, now, step) for name, value in numbers.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def end(self, *, is_finished: bool) -> None:
        """Mark the run as ended."""
        self._client.set_terminated(self._id, status="FINISHED" if is_finished else "KILLED")

    def _make(self, database: Path) -> None:
        """Make a database with all of its tables, or none: MLflow does not mend a part of one."""
        if database.exists():
            return
        draft = draft_beside(database)
        self._mlflow.MlflowClient(f"sqlite:///{draft}").search_experiments(max_results=1)
        draft.replace(database)

    def _create(self, run: TrackedRun) -> str:
        is_own = not os.environ.get("MLFLOW_TRACKING_URI")
        place = (run.directory / "artifacts").as_uri() if is_own else None
        return str(self._client.create_experiment(run.project, artifact_location=place))

    def _last_step(self, name: str) -> int:
        history = self._client.get_metric_history(self._id, name)
        return max(int(metric.step) for metric in history)


class TrackioTracker:
    """trackio: its database on this machine, unless TRACKIO_SPACE_ID or TRACKIO_SERVER_URL asks."""

    def __init__(self) -> None:
        import trackio
        import trackio.sqlite_storage

        self._trackio: Any = trackio

    def start(self, run: TrackedRun) -> Mapping[str, int]:
        """Begin a run, or continue the one of its name, which has a part of its id."""
        name = f"{run.name}-{run.id[:8]}"
        with redirect_stdout(_OfOtherThreads()):
            self._run = self._trackio.init(
                project=run.project,
                name=name,
                config=dict(run.settings),
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        run.say(f'to look at what trackio is told:  trackio show --project "{run.project}"')
        held: dict[str, int] = {}
        for row in self._trackio.sqlite_storage.SQLiteStorage.get_logs(run.project, name):
            for metric in row:
                held[metric] = max(held.get(metric, -1), row["step"])
        return held

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Take numbers."""
        self._run.log(dict(numbers), step=step)

    def end(self, *, is_finished: bool) -> None:
        """Write out what is buffered."""
        with redirect_stdout(_OfOtherThreads()):
            self._run.finish()


TRACKERS: Mapping[str, Callable[[], Tracker]] = {
    "wandb": WandbTracker,
    "mlflow": MlflowTracker,
    "trackio": TrackioTracker,
}


def check_trackers(names: Sequence[TrackerName]) -> None:
    """Raise if a tracker is not installed; nothing is imported.

    Args:
        names: As watch.trackers has them.

    Raises:
        MissingExtraError: If one is not.
    """
    for name in names:
        needed: list[str] = [name]
        if name == "mlflow" and not os.environ.get("MLFLOW_TRACKING_URI"):
            needed += ["sqlalchemy", "alembic"]  # of its database, which mlflow-skinny leaves out
        if not all(find_spec(module) for module in needed):
            raise MissingExtraError(name, f'watch.trackers = ["{name}"]')


class _OfOtherThreads(TextIOBase):
    """Standard output without what the present thread prints: training runs beside it."""

    def __init__(self) -> None:
        self._out = sys.stdout
        self._silent = get_ident()

    def write(self, text: str) -> int:
        return len(text) if get_ident() == self._silent else self._out.write(text)

    def flush(self) -> None:
        self._out.flush()


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{key}": item for key, item in value.items()}
        else:
            flat[name] = value
    return flat


def _allowed(name: str) -> str:
    """Return a metric's name as MLflow takes it, which refuses recall@1 and loss[0]."""
    name = re.sub(r"[^/\w.\- ]", "_", name.replace("@", "_at_"))
    if name.startswith(("/", ".")) or posixpath.normpath(name) != name:  # as no path is written
        name = name.replace("/", "_").strip(".") or "_"
    return name


class _Held(dict[str, int]):
    """The last steps of metrics by the names that MLflow has, found by their own."""

    def __missing__(self, name: str) -> int:
        allowed = _allowed(name)
        if allowed not in self:
            raise KeyError(name)
        return self[allowed]
