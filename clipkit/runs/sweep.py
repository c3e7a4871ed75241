"""A sweep: one run after another over values of settings, each in a directory of its own.

OUTPUT/lr=1e-05,seed=1/   a run
       features/          of locked image encoders, which all runs share
       sweep.json         the settings and what each run has come to
       sweep.md, sweep.png  the same as a table and a plot
"""

import hashlib
import itertools
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from clipkit.arguments import check_kind
from clipkit.data.map_style import MapStyleDataset
from clipkit.errors import ClipkitError, InputError, TrainingError
from clipkit.files import exclusive_lock
from clipkit.progress import CALLBACKS_RULE, Callbacks, keep_warnings
from clipkit.runs.data import with_validation_splits
from clipkit.runs.directory import claimed_directory, refuse_nested
from clipkit.runs.extension import CONFIG_NAME
from clipkit.runs.given import Given
from clipkit.runs.preflight import check
from clipkit.runs.preflight_report import PreflightReport
from clipkit.runs.report import REPORT_NAME
from clipkit.runs.run import train_given
from clipkit.runs.sweep_names import folder_name
from clipkit.runs.sweep_report import (
    SWEEP_NAME,
    SweepReport,
    SweepRow,
    finished_row,
    write_sweep,
)
from clipkit.training.config import CONFIG_RULE, RunConfig
from clipkit.training.loss_function import LossFunction

_FEATURES_NAME = "features"
_LOCK_NAME = ".lock"
_MOST_RUNS = 1000


@dataclass(frozen=True)
class _Point:
    """One combination of values, and the run of it."""

    settings: Mapping[str, Any]
    config: RunConfig


@dataclass(frozen=True)
class SweepCheck:
    """What was found of each run of a sweep that was not started.

    Attributes:
        runs: The values and the preflight report of each run.
    """

    runs: tuple[tuple[Mapping[str, Any], PreflightReport], ...]

    @property
    def hours(self) -> float:
        """How long all runs take on this machine, without an early stop."""
        return sum(found.hours for _, found in self.runs)

    @property
    def disk_bytes(self) -> int:
        """The most bytes that all runs have on the disk in the end."""
        return sum(found.disk_bytes for _, found in self.runs)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as values that JSON can hold."""
        return {
            "hours": self.hours,
            "disk_bytes": self.disk_bytes,
            "runs": [
                {"settings": dict(settings), **found.to_dict()} for settings, found in self.runs
            ],
        }

    def lines(self) -> list[str]:
        """Return the report as lines: the first run's, what others warn of, and the sums."""
        first = self.runs[0][1]
        lines = [*first.lines(), ""]
        for settings, found in self.runs:
            lines.append(f"{_text(settings)}: {found.hours * 60:.1f} minutes")
            lines += [f"  warning: {one}" for one in found.warnings if one not in first.warnings]
        free = min(found.free_bytes for _, found in self.runs)
        lines.append(
            f"{len(self.runs)} runs one after another: about {self.hours * 60:.1f} minutes, and at "
            f"most {self.disk_bytes / 1e6:,.0f} MB on the disk; {free / 1e6:,.0f} MB are free"
        )
        if self.disk_bytes > free:
            lines.append(
                "warning: that is more than is free: make room, set watch.keep = 1, or sweep "
                "fewer values"
            )
        return lines


def sweep(
    config: RunConfig,
    values: Mapping[str, Sequence[Any]],
    *,
    dataset: MapStyleDataset | None = None,
    validation: MapStyleDataset | None = None,
    loss: LossFunction | None = None,
    callbacks: Callbacks | None = None,
) -> SweepReport:
    """Train a run for each combination of values, one after another, and compare them.

    Each run has a directory of its own in ``config.output``, named by its values. A sweep that was
    interrupted is resumed by the same call: runs that have ended are read, the one that was
    interrupted resumes, one that has failed is tried again. A run that fails is noted, and the
    others go on. After each run the tables are written.

    Args:
        config: The run; the values replace its settings, its output is the directory of the sweep.
        values: Of each setting, as ``{"optimizer.lr": [1e-6, 1e-5]}``; several make a grid.
        dataset: Pairs in memory that all runs train on, as train takes them.
        validation: Pairs in memory that all are compared by, likewise.
        loss: A loss of one's own, likewise.
        callbacks: As train takes them.

    Returns:
        What each run has come to; where someone asked to stop, ``is_stopped`` is True.

    Raises:
        InputError: If a value is wrong, there are no validation pairs, or the output holds
            something else; nothing is trained then.
        TrainingError: If another process works in the directory.
        MissingExtraError: If torch is not installed.
    """
    check_kind(callbacks or Callbacks(), "on_step", CALLBACKS_RULE)
    given = Given(dataset, validation, loss)
    points = _points(config, values, given)
    callbacks = keep_warnings(callbacks or Callbacks(), [])
    directory = Path(points[0].config.output).parent
    _claim(directory)
    held = TrainingError(f"another process sweeps in {directory}: wait for it")
    with exclusive_lock(directory / _LOCK_NAME, held):
        for point in points:
            if (Path(point.config.output) / CONFIG_NAME).is_file():
                with claimed_directory(point.config):  # refuses other settings before all
                    pass
        return _train_all(directory, points, given, callbacks)


def check_sweep(
    config: RunConfig,
    values: Mapping[str, Sequence[Any]],
    *,
    dataset: MapStyleDataset | None = None,
    validation: MapStyleDataset | None = None,
    loss: LossFunction | None = None,
    callbacks: Callbacks | None = None,
) -> SweepCheck:
    """Look at the data of every run of a sweep and try a few steps; nothing is written.

    Args:
        config: As sweep takes it.
        values: As sweep takes them.
        dataset: Likewise.
        validation: Likewise.
        loss: Likewise.
        callbacks: As check takes them.

    Returns:
        What was found for each run, and the time and room of all.

    Raises:
        InputError: If a value is wrong, or a run cannot be trained.
    """
    points = _points(config, values, Given(dataset, validation, loss))
    return SweepCheck(
        tuple(
            (
                point.settings,
                check(
                    point.config,
                    dataset=dataset,
                    validation=validation,
                    loss=loss,
                    callbacks=callbacks or Callbacks(),
                ),
            )
            for point in points
        )
    )


def _points(config: RunConfig, values: Mapping[str, Sequence[Any]], given: Given) -> list[_Point]:
    """Return the runs of a sweep, resolved, after checks that need no data."""
    check_kind(config, "compute", CONFIG_RULE)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            "a sweep trains in one process at a time, and torchrun has started several: give each "
            "combination a run of its own by --set, or start the sweep without torchrun"
        )
    base = config.resolve()  # paths become absolute, defaults stay what they depend on
    refuse_nested(base)
    lists = {key: _listed(key, some) for key, some in values.items()}
    if not lists or math.prod(map(len, lists.values())) > _MOST_RUNS:
        raise InputError(
            f"a sweep needs values of a setting, and at most {_MOST_RUNS} combinations of them, as "
            'in {"optimizer.lr": [1e-6, 1e-5]}'
        )
    combinations = [
        dict(zip(lists, some, strict=True)) for some in itertools.product(*lists.values())
    ]
    points = [_Point(some, _with(config, base.output, some)) for some in combinations]
    for point in points:
        given.check(point.config)
        data = with_validation_splits(point.config).data
        if given.validation is None and not data.validation and not data.validation_fraction:
            raise InputError(
                "a sweep compares runs by their validation pairs, and there are none: set "
                "data.validation or data.validation_fraction, from Python validation="
            )
    for first, second in itertools.combinations(points, 2):
        if replace(first.config, output="-") == replace(second.config, output="-"):
            raise InputError(
                f"{_text(first.settings)} and {_text(second.settings)} are one and the same run: "
                "leave one of them out"
            )
    return points


def _listed(key: str, values: Sequence[Any]) -> list[Any]:
    if key == "output" or not key.strip():
        raise InputError(
            "a sweep gives each run an output of its own, so that output cannot be swept: name "
            "settings such as optimizer.lr"
        )
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise InputError(f"{key} needs a list of values, as in [1e-6, 1e-5], got {values!r}")
    return list(values)


def _with(config: RunConfig, output: str, settings: Mapping[str, Any]) -> RunConfig:
    """Return the run with other settings, resolved, in a folder of the output."""
    content = config.to_dict()
    for key, value in settings.items():
        section, dot, name = key.partition(".")
        if dot:
            content[section] = {**content.get(section, {}), name: value}
        else:
            content[key] = value
    content["output"] = str(Path(output) / folder_name(settings))
    return RunConfig.from_dict(content).resolve()


def _text(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {value}" for key, value in settings.items())


def _claim(directory: Path) -> None:
    """Make the directory of a sweep, unless something else lies there."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        others = {path.name for path in directory.iterdir()} - {_LOCK_NAME}
    except OSError as error:
        raise InputError(f"output {directory} cannot be made: {error.strerror}") from error
    if others and SWEEP_NAME not in others:
        what = "a run" if CONFIG_NAME in others else "something that is no sweep"
        raise InputError(f"output {directory} holds {what}: choose another output for the sweep")


def _train_all(
    directory: Path, points: Sequence[_Point], given: Given, callbacks: Callbacks
) -> SweepReport:
    rows = [SweepRow(point.settings, point.config.output, "waiting") for point in points]
    own = {Path(point.config.output).name for point in points}
    ended = {path.parent.name for path in directory.glob(f"*/{REPORT_NAME}")}
    sweep_report = SweepReport(str(directory), tuple(rows), tuple(sorted(ended - own)))
    write_sweep(sweep_report)
    for number, point in enumerate(points):
        callbacks.say(f"run {number + 1} of {len(points)}: {_text(point.settings)}")
        rows[number] = _train_one(directory, point, given, callbacks)
        sweep_report = replace(sweep_report, rows=tuple(rows))
        write_sweep(sweep_report)
        if rows[number].status == "stopped":
            break
    return sweep_report


def _train_one(directory: Path, point: _Point, given: Given, callbacks: Callbacks) -> SweepRow:
    row = SweepRow(point.settings, point.config.output, "failed")
    try:
        features = directory / _FEATURES_NAME / _inputs_name(point.config)
        report = train_given(point.config, replace(given, features=features), callbacks=callbacks)
    except (ClipkitError, MemoryError, torch.OutOfMemoryError) as error:
        problem = " ".join(f"{error}".split()) or type(error).__name__
        callbacks.warn(f"{_text(point.settings)} failed: {problem}")
        return replace(row, problem=problem)
    if not report.is_finished:
        return replace(row, status="stopped", step=report.step, seconds=report.seconds)
    return finished_row(row, report)


def _inputs_name(config: RunConfig) -> str:
    """Return a name for all that features of images depend on, or that divides the pairs."""
    inputs = json.dumps([asdict(config.model), asdict(config.data), config.seed])
    return hashlib.sha256(inputs.encode()).hexdigest()[:16]
