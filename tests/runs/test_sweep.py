"""Sweeps: a run for each combination of values, read back from the runs' own reports."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clipkit.encoder.stored_images import embed_and_store
from clipkit.errors import InputError
from clipkit.progress import Callbacks
from clipkit.runs import sweep as sweep_module
from clipkit.runs.metrics_log import read_validation
from clipkit.runs.sweep import check_sweep, sweep
from clipkit.training.config import RunConfig
from tests.runs.conftest import Train, WriteRun

RATES = ("--sweep", "optimizer.lr=1e-4,1e-3")
SPLIT = {"validation_fraction": 0.2}


def assert_rows_are_those_of_reports(directory: Path) -> list[dict[str, Any]]:
    """Compare sweep.json and sweep.md with the report and the metrics of each run."""
    rows = json.loads((directory / "sweep.json").read_text())["rows"]
    table = (directory / "sweep.md").read_text()
    for row in rows:
        run = Path(row["directory"])
        report = json.loads((run / "report.json").read_text())
        assert row["status"] == "finished"
        assert (row["step"], row["seconds"]) == (report["best_step"], report["seconds"])
        # Written while training, by the validation itself.
        measured = read_validation(run, step=report["best_step"]).score
        assert row["score"] == pytest.approx(measured)
        assert row["retention_accuracy"] == report["final"].get("retention_accuracy")
        assert f"| {row['score']:.1%} | {row['step']} |" in table
    return list(rows)


@pytest.mark.slow
def test_a_sweep_that_is_killed_resumes_and_ends_as_one_that_is_not(
    write_run: WriteRun, train: Train
) -> None:
    whole, killed = write_run("whole", data=SPLIT), write_run("killed", data=SPLIT)
    first = train(whole, *RATES)
    ended = train(killed, *RATES, signal_at=(5, signal.SIGKILL))
    resumed = train(killed, *RATES, "--json")

    assert (first.status, ended.status) == (0, -signal.SIGKILL), first.err
    assert resumed.status == 0, resumed.err
    assert resumed.err.count("resuming after step 4 of 8") == 1  # where the first epoch ended
    directory = killed.with_suffix("")
    rows = assert_rows_are_those_of_reports(directory)
    assert json.loads(resumed.out) == json.loads((directory / "sweep.json").read_text())
    assert [row["settings"] for row in rows] == [{"optimizer.lr": 1e-4}, {"optimizer.lr": 1e-3}]
    for name in ("lr=0.0001", "lr=0.001"):
        finals = [
            (run.with_suffix("") / name / "final" / "open_clip_model.safetensors").read_bytes()
            for run in (whole, killed)
        ]
        assert finals[0] == finals[1]
    assert first.out == (whole.with_suffix("") / "sweep.md").read_text()
    assert "the best of 2 settings was chosen on the validation pairs" in first.out
    with Image.open(directory / "sweep.png") as plot:
        assert plot.size == (960, 600)


@pytest.mark.slow
def test_a_run_that_fails_is_noted_and_the_others_go_on(write_run: WriteRun, train: Train) -> None:
    path = write_run(data=SPLIT)

    ended = train(path, "--sweep", "compute.batch_size=500,8", "--set", "compute.epochs=1")

    assert ended.status == 1
    failed, finished = json.loads((path.with_suffix("") / "sweep.json").read_text())["rows"]
    assert (failed["status"], finished["status"]) == ("failed", "finished")
    assert failed["problem"].startswith("compute.batch_size 500 is more than the 32 pairs")
    assert "batch_size=500 failed: compute.batch_size 500 is more" in ended.out
    alone = train(path, "--sweep", "compute.batch_size=500", "--set", "compute.epochs=1")
    assert "batch_size=8 has been trained in this directory too" in alone.out


@pytest.mark.slow
def test_ctrl_c_stops_the_sweep_and_the_same_command_resumes(
    write_run: WriteRun, train: Train
) -> None:
    path = write_run(data=SPLIT)

    stopped = train(path, *RATES, signal_at=(3, signal.SIGINT))
    rows = json.loads((path.with_suffix("") / "sweep.json").read_text())["rows"]
    resumed = train(path, *RATES)

    assert stopped.status == 130
    assert [(row["status"], row["step"]) for row in rows] == [("stopped", 3), ("waiting", None)]
    assert resumed.status == 0, resumed.err
    assert resumed.err.count("resuming after step 3 of 8") == 1


@pytest.mark.slow
def test_a_grid_shares_features_of_a_locked_encoder(
    fine_tune: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fine_tune(
        model={"lock_image": True},
        data={"crop_scale": [1.0, 1.0]},
        compute={"epochs": 1},
        watch={"wise_ft": False},
    )
    embedded: list[Path] = []

    def count(encoder: Any, dataset: Any, directory: Path, **options: Any) -> Any:
        progressed: list[int] = []
        found = embed_and_store(
            encoder,
            dataset,
            directory,
            key=options["key"],
            progress=lambda *_: progressed.append(1),
        )
        embedded.extend([directory] * bool(progressed))
        return found

    monkeypatch.setattr("clipkit.runs.build.embed_and_store", count)
    config = RunConfig.from_toml(path)
    values = {"optimizer.lr": [1e-3, 1e-4], "optimizer.weight_decay": [0.0, 0.2]}

    quiet = Callbacks(warn=lambda line: None)
    report = sweep(config, values, callbacks=quiet)

    directory = path.with_suffix("")
    assert len(embedded) == 1  # four runs
    assert [path.name for path in (directory / "features").iterdir()] == [embedded[0].name]
    assert not list(directory.glob("lr=*/features"))
    rows = assert_rows_are_those_of_reports(directory)
    assert [row["directory"] for row in rows] == [row.directory for row in report.rows]
    assert {Path(row.directory).name for row in report.rows} == {
        f"lr={lr},weight_decay={decay}" for lr in ("0.001", "0.0001") for decay in ("0.0", "0.2")
    }
    again = sweep(config, values, callbacks=quiet)
    assert again == report


def test_what_cannot_be_swept_is_refused_before_anything_is_written(write_run: WriteRun) -> None:
    with_pairs = RunConfig.from_toml(write_run(data=SPLIT))
    without = RunConfig.from_toml(write_run("without"))
    refusals: list[tuple[RunConfig, Any, str]] = [
        (without, {"seed": [1]}, "there are none: set data.validation"),
        (with_pairs, {}, "needs values of a setting"),
        (with_pairs, {"seed": range(1001)}, "at most 1000 combinations"),
        (with_pairs, {"seed": []}, "seed needs a list of values"),
        (with_pairs, {"seed": "12"}, "seed needs a list of values"),
        (with_pairs, {"output": ["a"]}, "output cannot be swept"),
        (with_pairs, {"optimizer.lr": [1, 1.0]}, "are one and the same run"),
        (with_pairs, {"optimizer.rate": [1]}, "rate"),
        (with_pairs, {"optimizer.lr": [-1]}, "optimizer.lr must be 0 or more"),
    ]
    for config, values, message in refusals:
        with pytest.raises(InputError, match=message):
            sweep(config, values)
    assert not Path(with_pairs.output).exists()


def test_several_processes_are_refused(
    write_run: WriteRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="torchrun has started several"):
        sweep(RunConfig.from_toml(write_run(data=SPLIT)), {"seed": [1]})


@pytest.mark.parametrize(("name", "what"), [("run.toml", "a run"), ("dear.txt", "something")])
def test_an_output_of_something_else_is_refused(
    write_run: WriteRun, tmp_path: Path, name: str, what: str
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_text("")
    with pytest.raises(InputError, match=f"holds {what}"):
        sweep(RunConfig.from_toml(write_run(data=SPLIT)), {"seed": [1]})
    assert [path.name for path in (tmp_path / "run").iterdir()] == [name]


@pytest.mark.slow
def test_check_adds_time_and_room_of_all_runs(write_run: WriteRun) -> None:
    config = RunConfig.from_toml(write_run(data=SPLIT))
    found = check_sweep(config, {"optimizer.lr": [1e-4, 1e-3]})
    hours = [report.hours for _, report in found.runs]
    assert found.hours == pytest.approx(hours[0] + hours[1])
    assert found.disk_bytes == 2 * found.runs[0][1].disk_bytes
    assert found.lines()[-1].startswith("2 runs one after another: about ")
    assert not Path(config.output).exists()


def test_an_error_of_a_program_is_not_noted_as_a_result(
    write_run: WriteRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **named: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(sweep_module, "train_given", fail)
    with pytest.raises(ZeroDivisionError):
        sweep(RunConfig.from_toml(write_run(data=SPLIT)), {"seed": [1]})
