"""Extending a run: it ends as one that was told so from the beginning, and survives its kills."""

import json
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clipkit.errors import InputError, TrainingError
from clipkit.progress import Callbacks, Progress
from clipkit.runs import rank_run
from clipkit.runs.extension import EXTENSIONS_NAME
from clipkit.runs.metrics_log import read_metrics
from clipkit.runs.preflight import check
from clipkit.runs.report import TrainingReport, read_report
from clipkit.runs.run import choose_again, train
from clipkit.training.checkpoints import RunCheckpoints
from clipkit.training.config import OptimizerConfig, RunConfig
from clipkit.training.loop import Validation
from clipkit.training.optimizer import learning_rate
from tests.runs.clipkit_process import run_ranks
from tests.runs.conftest import WriteRun, final_weights, save_captions_folder

# Tiny runs are warned of: few steps, small batches, few pairs to validate on.
pytestmark = pytest.mark.filterwarnings("ignore::clipkit.errors.ClipkitWarning")

STATE = "training_state.pt"
CONSTANT = {"optimizer": {"schedule": "constant", "warmup_steps": 3}}
DROPPED = {"model": {"patch_dropout": 0.5}}  # draws random numbers in each step


def changed(config: RunConfig, **sections: Mapping[str, Any]) -> RunConfig:
    """Return a run with other settings in some sections."""
    parts = {name: replace(getattr(config, name), **values) for name, values in sections.items()}
    return replace(config, **parts)


def extend(
    config: RunConfig, *, killed_after: int = 0, extend: bool = True
) -> tuple[TrainingReport | None, list[str]]:
    """Extend a run, or kill it in a step; return its report and what it says."""
    lines: list[str] = []

    def stop(done: int, total: int | None) -> None:
        if done == killed_after:
            raise KeyboardInterrupt

    def progress_for(label: str) -> AbstractContextManager[Progress]:
        return nullcontext(stop if label == "training" else lambda done, total: None)

    callbacks = Callbacks(say=lines.append, progress_for=progress_for)
    if not killed_after:
        return train(config, extend=extend, callbacks=callbacks), lines
    with pytest.raises(KeyboardInterrupt):
        train(config, extend=extend, callbacks=callbacks)
    return None, lines


def rates(config: RunConfig) -> dict[int, float]:
    """Return the learning rate of each step, counted from 0."""
    lines = read_metrics(Path(config.output))
    return {each["step"] - 1: each["lr"] for each in lines if "lr" in each}


def checkpoint(config: RunConfig, step: int) -> Path:
    return RunCheckpoints(Path(config.output) / "checkpoints").path(step)


@pytest.mark.slow
@pytest.mark.parametrize("told", [{"epochs": 4}, {"max_steps": 17}])
def test_a_constant_run_that_is_extended_ends_as_one_that_was_told_so(
    write_run: WriteRun, told: dict[str, int]
) -> None:
    """Two epochs, and two more, or to the midst of the fourth."""
    whole, extended = (write_run(name, **CONSTANT, **DROPPED) for name in ("whole", "extended"))
    train(changed(RunConfig.from_toml(whole), compute=told))
    config = RunConfig.from_toml(extended)
    first = train(config)
    before = final_weights(extended)

    report, lines = extend(changed(config, compute=told))

    num_steps = told.get("max_steps", 20)
    assert (
        f"extending the run after step 10, to step {num_steps}: the learning rate is 0.001, "
        in ("".join(lines))
    )
    assert report is not None
    assert (report.step, report.num_steps, report.extensions) == (num_steps, num_steps, (10,))
    assert (first.step, first.extensions) == (10, ())
    assert final_weights(extended) == final_weights(whole) != before
    assert list(rates(config)) == list(range(num_steps))
    assert set(list(rates(config).values())[3:]) == {0.001}


@pytest.mark.slow
def test_it_ends_so_with_averages_accumulation_and_hard_negatives_too(
    write_run: WriteRun,
) -> None:
    settings = {
        **DROPPED,
        "optimizer": {**CONSTANT["optimizer"], "ema_decay": 0.9},
        "compute": {"accumulate_batches": 2},
        "data": {"hard_negatives": 0.25},
    }
    whole, extended = (write_run(name, **settings) for name in ("whole", "extended"))
    train(changed(RunConfig.from_toml(whole), compute={"epochs": 4}))
    config = RunConfig.from_toml(extended)
    train(config)
    extend(changed(config, compute={"epochs": 4}))
    assert final_weights(extended) == final_weights(whole)


@pytest.mark.slow
def test_it_ends_so_on_several_processes_too(write_run: WriteRun, tmp_path: Path) -> None:
    whole, extended = (write_run(name, **CONSTANT, **DROPPED) for name in ("whole", "extended"))
    more = ("--set", "compute.epochs=4")
    for words in (("train", whole, *more), ("train", extended), ("train", extended, *more)):
        asked = ["--extend"] if words == ("train", extended, *more) else []
        ended = run_ranks([*words, *asked], tmp_path, world_size=2)
        assert [each.status for each in ended] == [0, 0], ended[0].err
    assert final_weights(extended) == final_weights(whole)


@pytest.mark.slow
def test_from_a_damaged_checkpoint_on_it_is_the_one_before_that_is_extended(
    write_run: WriteRun,
) -> None:
    watch = {"watch": {"checkpoint_steps": 3}}
    whole, extended = (write_run(name, **CONSTANT, **watch) for name in ("whole", "extended"))
    train(changed(RunConfig.from_toml(whole), compute={"epochs": 3}))
    config = RunConfig.from_toml(extended)
    train(config)
    state = checkpoint(config, 10) / STATE
    state.write_bytes(state.read_bytes()[:-1])

    report, lines = extend(changed(config, compute={"epochs": 3}))

    assert report is not None and report.extensions == (9,)
    assert "extending the run after step 9, to step 15" in "".join(lines)
    assert final_weights(extended) == final_weights(whole)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_a_falling_schedule_begins_again_with_its_warmup(
    write_run: WriteRun, schedule: Any
) -> None:
    config = RunConfig.from_toml(write_run(optimizer={"schedule": schedule, "lr": 0.002}))
    train(config)

    extend(changed(config, compute={"epochs": 6}))  # 20 steps more

    optimizer = OptimizerConfig(lr=0.002, schedule=schedule)
    expected = [learning_rate(step, num_steps=10, config=optimizer) for step in range(10)]
    expected += [learning_rate(step, num_steps=20, config=optimizer) for step in range(20)]
    assert list(rates(config).values()) == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.parametrize("says_extend", [True, False])
def test_a_killed_extension_is_resumed_bit_for_bit(
    write_run: WriteRun, *, says_extend: bool
) -> None:
    """Killed in its first step, of which nothing is kept, and then in its fifth.

    The former model and report stay until the end.
    """
    paths = [write_run(name, **DROPPED, optimizer={"lr": 0.002}) for name in ("whole", "killed")]
    whole, killed = (RunConfig.from_toml(path) for path in paths)
    train(whole)
    first = train(killed)
    before = final_weights(paths[1])
    more = {"compute": {"epochs": 4}, "watch": {"checkpoint_steps": 1}}
    extend(changed(whole, **more))

    extend(changed(killed, **more), killed_after=11)
    extend(changed(killed, **more), killed_after=15, extend=says_extend)
    assert final_weights(paths[1]) == before
    assert read_report(Path(killed.output)) == first
    with pytest.raises(InputError, match="no run that has ended"):
        choose_again(killed.output)
    report, lines = extend(changed(killed, **more), extend=says_extend)

    assert "resuming after step 14 of 20" in lines
    assert report is not None
    assert report.extensions == (10,)
    assert final_weights(paths[1]) == final_weights(paths[0])
    assert rates(killed) == rates(whole)


@pytest.mark.slow
def test_other_pairs_begin_with_an_epoch(write_run: WriteRun, tmp_path: Path) -> None:
    """10 steps of 5 an epoch, then two epochs of 3."""
    config = RunConfig.from_toml(write_run())
    train(config)
    other = save_captions_folder(tmp_path / "other", 24)
    asked = RunConfig.from_toml(write_run("asked", data={"train": str(other)}))

    report, _ = extend(replace(changed(asked, compute={"epochs": 4}), output=config.output))

    assert report is not None
    assert (report.step, report.num_steps, report.num_pairs) == (16, 16, 24)
    epochs = [each["epoch"] for each in read_metrics(Path(config.output)) if "epoch" in each]
    expected = [step / 5 for step in range(1, 11)] + [2 + step / 3 for step in range(1, 7)]
    assert epochs == pytest.approx(expected)


@pytest.mark.slow
def test_what_is_no_extension_is_refused_and_changes_nothing(write_run: WriteRun) -> None:
    config = RunConfig.from_toml(write_run())
    train(config)
    directory = Path(config.output)
    kept = (directory / "run.toml").read_bytes()
    for other, asked, words in (
        (replace(config, seed=1), True, "cannot be extended with seed was 0, is 1"),
        (changed(config, compute={"epochs": 4}), False, "epochs was 2, is 4.*give --extend"),
        (changed(config, optimizer={"lr": 0.5}), True, "done 10 steps, and compute.epochs = 2"),
        (changed(config, compute={"epochs": 1}), True, "ends after 5: to extend it, set a larger"),
    ):
        with pytest.raises(InputError, match=words):
            train(other, extend=asked)
    report, lines = extend(config)  # asks for nothing more

    assert report == read_report(directory)
    assert "has ended already" in lines[0]
    assert (directory / "run.toml").read_bytes() == kept
    assert not (directory / EXTENSIONS_NAME).exists()
    shutil.rmtree(directory / "checkpoints")
    with pytest.raises(InputError, match="no checkpoint that could be trained further"):
        train(changed(config, compute={"epochs": 4}), extend=True)


@pytest.mark.slow
def test_early_stopping_counts_anew_and_extensions_go_on(
    write_run: WriteRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends after one worse measurement; with more patience it goes on, and then again."""
    scores = iter([0.1, 0.5, 0.4, 0.4] + [0.3] * 20)
    measure = lambda encoder: Validation(next(scores), {})  # noqa: E731
    monkeypatch.setattr(rank_run, "build_measure", lambda *_: measure)
    path = write_run(
        data={"validation_fraction": 0.2},
        compute={"epochs": 3},
        watch={"patience": 1},
    )
    config = RunConfig.from_toml(path)
    first = train(config)

    second, _ = extend(changed(config, watch={"patience": 3}))
    third, _ = extend(changed(config, compute={"epochs": 4}, watch={"patience": 3}))

    assert (first.step, first.num_steps, first.best_step) == (8, 12, 4)
    assert second is not None
    assert third is not None
    assert (second.step, second.best_step, second.extensions) == (12, 4, (8,))
    assert (third.step, third.best_step, third.extensions) == (16, 4, (8, 12))


@pytest.mark.slow
def test_damaged_extensions_are_named_and_lost_ones_missed(write_run: WriteRun) -> None:
    config = RunConfig.from_toml(write_run(**CONSTANT))
    train(config)
    extended = changed(config, compute={"epochs": 3})
    extend(extended)
    path = Path(config.output) / EXTENSIONS_NAME
    more = changed(config, compute={"epochs": 4})
    good = path.read_text()
    for damaged, problem in {
        '{"extensions": [{}]}': "is damaged: each extension has",
        '{"extensions": [1]}': "is damaged: each extension has",
        '{"extensions": [{"step": 10, "settings": {"output": 5}}]}': "is damaged: output",
    }.items():
        path.write_text(damaged)
        for call in (train, check):
            with pytest.raises(TrainingError, match=rf"extensions\.json {problem}"):
                call(more, extend=True)
        with pytest.raises(TrainingError, match=rf"extensions\.json {problem}"):
            choose_again(config.output)
    path.unlink()
    lost = "has 0 extensions of this run, and its newest checkpoint 1: put the file back"
    for run in (
        lambda: train(more, extend=True),
        lambda: check(more, extend=True),
        lambda: train(extended),
    ):
        with pytest.raises(TrainingError, match=lost):
            run()
    path.write_text(good)
    assert extend(more)[0] is not None


@pytest.mark.slow
def test_a_damaged_report_is_written_anew_and_lost_checkpoints_are_named(
    write_run: WriteRun,
) -> None:
    config = RunConfig.from_toml(write_run(**CONSTANT))
    report = train(config)
    path = Path(config.output) / "report.json"
    for damaged in ('{"a": 1}', json.dumps(report.to_dict() | {"extensions": 5})):
        path.write_text(damaged)
        assert read_report(Path(config.output)) is None
        assert train(config).step == report.step
        assert read_report(Path(config.output)) is not None
    shutil.rmtree(checkpoint(config, 10).parent)
    more = changed(config, compute={"epochs": 3})
    for call in (train, check):
        with pytest.raises(InputError, match="no checkpoint that could be trained further"):
            call(more, extend=True)
    (Path(config.output) / "run.toml").unlink()
    with pytest.raises(InputError, match=r"has no run\.toml any more"):
        choose_again(config.output)
