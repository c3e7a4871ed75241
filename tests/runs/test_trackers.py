"""What experiment trackers hold of a run, read back with their own libraries."""

import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from clipkit.errors import MissingExtraError
from clipkit.runs import trackers
from clipkit.runs.trackers import TrackedRun, check_trackers
from tests.conftest import ROOT
from tests.runs.clipkit_process import ClipkitProcess, Outcome
from tests.runs.conftest import Train, WriteRun, final_weights

Points = dict[str, list[tuple[int, float]]]

pytestmark = pytest.mark.slow


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Return a function that runs ``clipkit train WORDS…`` without the settings of a user."""
    own = {"TRACKIO_DIR": str(tmp_path / "trackio"), "HOME": str(tmp_path)}
    kept = {name: os.environ[name] for name in ("CLIPKIT_HOME", "HF_HUB_OFFLINE")}
    monkeypatch.setenv("TRACKIO_DIR", own["TRACKIO_DIR"])  # where this process reads

    def train(*words: object, **options: Any) -> Outcome:
        process = ClipkitProcess(["train", *words], tmp_path, environment=kept | own, **options)
        return process.outcome()

    return train


def logged(directory: Path) -> Points:
    """Return the (step, value) of each metric in metrics.jsonl."""
    points: Points = {}
    for line in (directory / "metrics.jsonl").read_text().splitlines():
        entry = json.loads(line)
        for name, value in entry.items():
            if isinstance(value, float):
                points.setdefault(name, []).append((entry["step"], value))
    return points


def held_by_wandb(directory: Path) -> tuple[Points, dict[str, Any]]:
    """Read the records of wandb's offline file, a log of LevelDB: blocks of 32 KiB of fragments."""
    records: Any = import_module("wandb.proto.wandb_internal_pb2")
    (path,) = directory.glob("trackers/wandb/offline-run-*/*.wandb")
    points: Points = {}
    config: dict[str, Any] = {}
    for data in _leveldb_records(path.read_bytes()[7:]):
        record = records.Record.FromString(data)
        if record.HasField("run"):
            config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        if record.HasField("history"):
            row = {
                item.key or ".".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            for name, value in row.items():
                if not name.startswith("_"):
                    points.setdefault(name, []).append((row["_step"], value))
    return points, config


def _leveldb_records(content: bytes) -> Iterator[bytes]:
    whole, place = b"", 0
    while place + 7 <= len(content):
        left = 32768 - (place + 7) % 32768  # the header of the file is in the first block
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        part = content[place + 7 : place + 7 + length]
        place += 7 + length
        whole = part if kind in (1, 2) else whole + part
        if kind in (1, 4):
            yield whole


def held_by_trackio(directory: Path) -> tuple[Points, dict[str, Any]]:
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    (run,) = trackio.Api().runs("tests")
    points: Points = {}
    for row in SQLiteStorage.get_logs("tests", run.name):
        for name, value in row.items():
            if name not in ("step", "timestamp"):
                points.setdefault(name, []).append((row["step"], value))
    return points, dict(run.config or {})


def held_by_mlflow(directory: Path) -> tuple[Points, dict[str, Any]]:
    mlflow = pytest.importorskip("mlflow")
    client = mlflow.MlflowClient(f"sqlite:///{directory}/trackers/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("tests").experiment_id])
    assert run.info.status == "FINISHED"
    points: Points = {}
    for name in run.data.metrics:
        history = client.get_metric_history(run.info.run_id, name)
        points[name.replace("_at_", "@")] = [(metric.step, metric.value) for metric in history]
    return points, dict(run.data.params)


READERS = {"wandb": held_by_wandb, "mlflow": held_by_mlflow, "trackio": held_by_trackio}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
def test_a_tracker_holds_what_the_metrics_log_has_also_of_a_killed_run(
    write_run: WriteRun, train: Train, name: str
) -> None:
    pytest.importorskip(name)
    path = write_run(
        data={"validation_fraction": 0.2},
        watch={"trackers": [name], "tracker_project": "tests", "checkpoint_steps": 3},
    )
    directory = path.with_suffix("")

    killed = train(path, signal_at=(7, signal.SIGKILL))
    resumed = train(path)

    assert killed.status == -signal.SIGKILL
    assert resumed.status == 0, resumed.err
    assert "warning: " + name not in resumed.err
    points, settings = READERS[name](directory)
    expected = logged(directory)
    times = {"step_seconds", "data_seconds"}  # differ where steps were taken twice
    assert points.keys() == expected.keys()
    assert {"loss", "lr", "score", "image_to_text_recall@1"} <= points.keys()
    for metric, found in points.items():
        steps, values = zip(*expected[metric], strict=True)
        found_steps, found_values = zip(*sorted(found), strict=True)
        assert found_steps == steps, metric
        if metric not in times:
            assert found_values == pytest.approx(values), metric
    lr = settings["optimizer.lr"] if name == "mlflow" else settings["optimizer"]["lr"]
    assert float(lr) == 0.001


def test_mlflow_goes_on_after_a_kill_while_its_database_is_made(tmp_path: Path) -> None:
    """The first process dies between two steps of what MLflow makes its tables in."""
    pytest.importorskip("mlflow")
    program = f"""
import os, sys
from pathlib import Path
from clipkit.runs.trackers import MlflowTracker, TrackedRun
from alembic.ddl.impl import DefaultImpl

made, create = [], DefaultImpl.create_table

def create_and_die(*arguments, **options):
    create(*arguments, **options)
    made.append(1)
    if len(made) == 5:
        os._exit(9)

if sys.argv[1] == "killed":
    DefaultImpl.create_table = create_and_die
tracker = MlflowTracker()
run = TrackedRun("1", "a", "tests", {{}}, Path({str(tmp_path)!r}), lambda line: None)
tracker.start(run)
tracker.log(3, {{"loss": 0.5}})
tracker.end(is_finished=True)
print(tracker.start(run)["loss"])
"""
    command = [sys.executable, "-W", "ignore", "-c", program]
    killed = subprocess.run([*command, "killed"], cwd=ROOT, capture_output=True, text=True)
    resumed = subprocess.run([*command, "resumed"], cwd=ROOT, capture_output=True, text=True)

    assert killed.returncode == 9, killed.stderr
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.split()[-1] == "3"


@pytest.mark.filterwarnings("ignore")
def test_mlflow_takes_every_name_and_finds_its_last_step_again(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    names = ["loss", "recall@1", "precision_at_1", "margin[0]", "../a", "a//b", ".", "p%", "a:b"]
    run = TrackedRun("1", "a", "tests", {}, tmp_path, lambda line: None)
    tracker = trackers.MlflowTracker()
    assert dict(tracker.start(run)) == {}
    for number, name in enumerate(names):
        tracker.log(number, {name: 0.5})

    held = trackers.MlflowTracker().start(run)

    assert [held[name] for name in names] == list(range(len(names)))
    with pytest.raises(KeyError):
        held["unknown"]


def test_without_trackers_none_is_imported_and_no_socket_is_opened(write_run: WriteRun) -> None:
    """None in sys.modules is a package that cannot be imported; timm takes wandb where it can."""
    program = f"""
import socket, sys

def refuse(*_):
    raise AssertionError("a socket was opened")

socket.socket.connect = socket.socket.connect_ex = refuse
sys.modules |= dict.fromkeys(["wandb", "mlflow", "trackio"])
from clipkit.cli.main import main

sys.exit(main(["train", {str(write_run())!r}]))
"""
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "10 steps on 40 pairs" in ended.stdout


def test_a_tracker_that_is_not_installed_ends_a_run_before_it_trains(
    write_run: WriteRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clipkit.runs.run import train
    from clipkit.training.config import RunConfig

    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    path = write_run(watch={"trackers": ["trackio"]})

    with pytest.raises(MissingExtraError, match=r'"trackio".* pip install "clipkit\[trackio\]"'):
        train(RunConfig.from_toml(path))

    assert not (path.with_suffix("") / "checkpoints").exists()
    with pytest.raises(MissingExtraError, match=r"clipkit\[mlflow\]"):
        check_trackers(["mlflow"])


def test_a_tracker_changes_no_weight(write_run: WriteRun, train: Train) -> None:
    pytest.importorskip("trackio")
    plain, followed = write_run("plain"), write_run("followed", watch={"trackers": ["trackio"]})

    assert (train(plain).status, train(followed).status) == (0, 0)

    assert final_weights(plain) == final_weights(followed)
    assert not (plain.with_suffix("") / "trackers").exists()


def test_while_trackio_is_silenced_other_threads_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trackio: Any = pytest.importorskip("trackio")

    def init(**options: object) -> None:
        sys.stdout.write("* Trackio project initialized\n")
        other = Thread(target=print, args=("a step",))
        other.start()
        other.join()

    monkeypatch.setattr(trackio, "init", init)
    monkeypatch.setattr(
        trackio.sqlite_storage, "SQLiteStorage", SimpleNamespace(get_logs=lambda *_: [])
    )
    run = trackers.TrackedRun("0" * 32, "run", "tests", {}, tmp_path, say=lambda line: None)
    trackers.TrackioTracker().start(run)
    assert capsys.readouterr().out == "a step\n"
