"""The settings that a run's directory keeps, and the extensions of the run.

Which extension a checkpoint and a report belong to is told by how many there were before them. So
an extension begins when its line in extensions.json is written, and a kill at any time leaves a run
that the same command resumes.

RUN/run.toml            the settings, every default written out
    extensions.json     of each extension the step it begins after and its settings, oldest first
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipkit.errors import InputError, TrainingError
from clipkit.files import read_json_object, write_text
from clipkit.runs.report import TrainingReport, read_report
from clipkit.training.config import RunConfig
from clipkit.training.extension import EXTENDABLE, is_extendable
from clipkit.training.optimizer import cooldown_steps, warmup_steps
from clipkit.training.resume import TrainerState

CONFIG_NAME = "run.toml"
EXTENSIONS_NAME = "extensions.json"


@dataclass(frozen=True)
class Extending:
    """Whether a run is to be extended."""

    is_asked: bool = False  # by --extend
    # The settings that differ from those it has, which values they had and have; empty: none.
    changes: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    num_before: int = 0  # extensions that have begun


def read_extensions(directory: Path) -> list[dict[str, Any]]:
    """Return the extensions of a run that have begun, each with its "step" and "settings".

    Args:
        directory: Of the run.

    Returns:
        The oldest first.

    Raises:
        TrainingError: If their file cannot be read.
    """
    path = directory / EXTENSIONS_NAME
    if not path.is_file():
        return []
    extensions = read_json_object(path, TrainingError).get("extensions")
    if not isinstance(extensions, list):
        raise TrainingError(f"{path} has no list of extensions: put a good copy back to resume")
    for entry in extensions:
        known = entry if isinstance(entry, dict) else {}
        if not isinstance(known.get("step"), int) or not isinstance(known.get("settings"), dict):
            raise TrainingError(
                f'{path} is damaged: each extension has a whole number "step" and "settings", got '
                f"{f'{entry!r}'[:100]}; put a good copy back to resume"
            )
    return extensions


def add_extension(directory: Path, step: int, config: RunConfig) -> None:
    """Begin an extension: write it down, and then its settings as those of the run.

    Args:
        directory: Of the run.
        step: How many steps are done.
        config: The settings from now on, resolved.
    """
    entry = {"step": step, "settings": config.to_dict()}
    _write_extensions(directory, [*read_extensions(directory), entry])
    config.to_toml(directory / CONFIG_NAME)


def kept_settings(directory: Path) -> RunConfig:
    """Return the settings of the run in a directory, resolved.

    Args:
        directory: Of the run, in which run.toml lies.

    Returns:
        Those of its newest extension, if it has any.

    Raises:
        InputError: If run.toml cannot be read.
        TrainingError: If the extensions cannot be.
    """
    extensions = read_extensions(directory)
    if extensions:  # a kill may have left those before it in run.toml
        try:
            return RunConfig.from_dict(extensions[-1]["settings"], folder=directory).resolve()
        except InputError as error:
            path = directory / EXTENSIONS_NAME
            raise TrainingError(
                f"{path} is damaged: {error}; put a good copy back to resume"
            ) from error
    return RunConfig.from_toml(directory / CONFIG_NAME).resolve()


def keep_settings(directory: Path, config: RunConfig) -> None:
    """Replace the settings of the run in a directory by others that are the same run's.

    Args:
        directory: Of the run.
        config: Resolved.
    """
    extensions = read_extensions(directory)
    if extensions:
        settings = config.to_dict()
        if extensions[-1]["settings"] != settings:
            extensions[-1]["settings"] = settings
            _write_extensions(directory, extensions)
    config.to_toml(directory / CONFIG_NAME)


def ended_report(directory: Path) -> TrainingReport | None:
    """Return the report of a run that has ended, with its newest extension if it has any."""
    report = read_report(directory)
    if report is None or len(report.extensions) != len(read_extensions(directory)):
        return None
    return report


def check_is_run(directory: Path) -> None:
    """Raise InputError if there is no run in a directory that could be extended.

    Args:
        directory: Where it should be.
    """
    if not (directory / CONFIG_NAME).is_file():
        raise InputError(
            f"there is no run in {directory} to extend: put the output of the run that is meant, "
            "or leave out --extend (in Python extend=True) to begin a run there"
        )


def check_has_checkpoint(directory: Path) -> None:
    """Raise InputError if a run has ended; called where no checkpoint of it is found.

    Args:
        directory: Of the run.
    """
    if read_report(directory) is not None:
        raise InputError(
            f"the run in {directory} has no checkpoint that could be trained further: put the "
            "folder checkpoints back; or train another run from its weights, with its final folder "
            "as model.base"
        )


def check_extensions_kept(directory: Path, saved: Mapping[str, Any], num_begun: int) -> None:
    """Raise TrainingError if a checkpoint was extended more often than is written down.

    Args:
        directory: Of the run.
        saved: Training state of the checkpoint.
        num_begun: Extensions that are written down.
    """
    num_extensions = saved["progression"].get("num_extensions", 0)
    if num_extensions > num_begun:
        raise TrainingError(
            f"{EXTENSIONS_NAME} in {directory} has {num_begun} extensions of this run, and its "
            f"newest checkpoint {num_extensions}: put the file back; or train another run from its "
            "weights, with its final folder as model.base"
        )


def check_extension(directory: Path, changes: Mapping[str, tuple[Any, Any]]) -> None:
    """Raise InputError if settings differ that an extension cannot change.

    Args:
        directory: Of the run.
        changes: Both values by key.
    """
    refused = {key: both for key, both in changes.items() if not is_extendable(key)}
    if refused:
        raise InputError(
            f"the run in {directory} cannot be extended with {listed_changes(refused)}: an "
            f"extension may change {EXTENDABLE}. Set these back; or train another run from its "
            "weights, with its final folder as model.base"
        )


def check_steps_left(config: RunConfig, state: TrainerState, num_steps: int) -> None:
    """Raise InputError if an extension would end before it begins.

    Args:
        config: Its settings.
        state: That it goes on from.
        num_steps: After so many steps the whole run ends.
    """
    if num_steps > state.step:
        return
    compute = config.compute
    name, value = "epochs", compute.epochs
    if compute.max_steps:
        name, value = "max_steps", compute.max_steps
    raise InputError(
        f"the run has done {state.step} steps, and compute.{name} = {value} of the whole run ends "
        f"after {max(num_steps, 0)}: to extend it, set a larger {name}"
    )


def extension_lines(
    config: RunConfig, state: TrainerState, num_steps: int, changes: Mapping[str, tuple[Any, Any]]
) -> list[str]:
    """Return what an extension does, as lines for a person.

    Args:
        config: Its settings, resolved.
        state: That it goes on from.
        num_steps: After so many steps the whole run ends.
        changes: The settings that differ from before.

    Returns:
        One or two lines.
    """
    return [
        *([f"changed: {listed_changes(changes)}"] if changes else []),
        f"extending the run after step {state.step}, to step {num_steps}: "
        f"{_schedule(config, state, num_steps)}",
    ]


def extension_warnings(changes: Mapping[str, tuple[Any, Any]], step: int) -> Iterator[str]:
    """Yield a warning of an extension that measures on pairs which the run has learnt.

    Args:
        changes: The settings that differ from before.
        step: After which the run is extended.

    Yields:
        One sentence at most.
    """
    was, now = changes.get("data.validation_fraction", (0.0, 0.0))
    if step and now > was:
        yield (
            f"data.validation_fraction was {was:g}, is {now:g}: pairs that are now validated on "
            f"were trained on until step {step}, so that what is measured on them is too good; "
            "set it back, and name pairs to validate on that were never trained on by "
            "data.validation"
        )


def listed_changes(changes: Mapping[str, tuple[Any, Any]]) -> str:
    """Return settings and how they differ, the first five of them."""
    several = list(changes.items())[:5]
    return "; ".join(f"{key} was {was!r}, is {now!r}" for key, (was, now) in several)


def _schedule(config: RunConfig, state: TrainerState, num_steps: int) -> str:
    """Return the course of the learning rate of an extension, as a sentence's end."""
    optimizer, num_own = config.optimizer, num_steps - state.step
    rate = f"{optimizer.lr:g}"
    if optimizer.schedule != "constant":
        course = "half a cosine" if optimizer.schedule == "cosine" else "a line"
        return (
            f"the learning rate begins again (warm restart), rises to {rate} over "
            f"{warmup_steps(num_own, optimizer)} steps and falls to 0 along {course}"
        )
    first, num_warmup = state.warmup or (0, 0)
    left, falling = first + num_warmup - state.step, cooldown_steps(num_own, optimizer)
    course = f"goes on rising to {rate} over {left} steps" if left > 0 else f"is {rate}"
    end = f", and falls to 0 over the last {falling} steps" if falling else ""
    return f"the learning rate {course}, without a new warmup{end}"


def _write_extensions(directory: Path, extensions: list[dict[str, Any]]) -> None:
    # In ASCII: a path may hold bytes that are not UTF-8.
    text = json.dumps({"extensions": extensions}, indent=2) + "\n"
    write_text(directory / EXTENSIONS_NAME, text, durable=True)
