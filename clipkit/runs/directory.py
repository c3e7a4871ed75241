"""The directory of a run: new, or one that goes on.

RUN/run.toml          the config, every default written out
    metrics.jsonl     what was measured, a JSON object a line
    tensorboard/      the same for TensorBoard
    curves.png        the same as an image
    checkpoints/      what training goes on from
    final/            the model, for clipkit and open_clip, with a draft of its card
    report.json       what the run came to
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from clipkit.errors import InputError, TrainingError
from clipkit.paths import expand_home
from clipkit.runs.metrics_log import read_metrics
from clipkit.runs.report import read_report
from clipkit.training.checkpoints import RunCheckpoints
from clipkit.training.config import Precision, RunConfig
from clipkit.training.config_file import differing_keys, read_config, write_config

CONFIG_NAME = "run.toml"
CHECKPOINTS_NAME = "checkpoints"
_LOCK_NAME = ".lock"


@contextmanager
def claimed_directory(config: RunConfig) -> Iterator[RunConfig]:
    """Make or enter the directory of a run, for this run alone.

    Args:
        config: The run, resolved.

    Yields:
        The run, with what was chosen for it when it began.

    Raises:
        InputError: If something else lies there, or another run, or it lies in the data.
        TrainingError: If another process trains there at the moment.
    """
    refuse_nested(config)
    directory = Path(config.output)
    if directory.is_dir():
        config = _as_before(directory, config)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"output {directory} cannot be made: {error.strerror}") from error
    lock = FileLock(directory / _LOCK_NAME)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise TrainingError(
            f"another process trains in {directory}: wait for it, or choose another output"
        ) from error
    try:
        if read_report(directory) is None:  # or it would tell of settings that nothing was done by
            keep_config(config)
        yield config
    finally:
        lock.release()


def refuse_nested(config: RunConfig) -> None:
    """Refuse a run whose directory lies in its data.

    Args:
        config: The run.

    Raises:
        InputError: If it does: its curves and texts would be taken for images and captions.
    """
    output = expand_home(config.output).resolve()
    places = [place.path for place in (*config.data.train, *config.data.validation)]
    for place in (*places, config.watch.tripwire or ""):
        folder = expand_home(place)
        if place and os.path.isdir(folder) and output.is_relative_to(folder.resolve()):  # noqa: PTH112
            raise InputError(
                f"output {config.output} lies in {place}, so what the run writes would be taken "
                "for data: choose an output elsewhere"
            )


def _as_before(directory: Path, config: RunConfig) -> RunConfig:
    """Return the run as it began, if it is the one that lies in the directory."""
    place = directory / CONFIG_NAME
    if not place.is_file():
        # A kill while run.toml was first written leaves its draft.
        if any(path.name not in (_LOCK_NAME, "run.part") for path in directory.iterdir()):
            raise InputError(
                f"output {directory} holds something that is no training run: choose another output"
            )
        return config
    if not read_metrics(directory) and not RunCheckpoints(directory / CHECKPOINTS_NAME).steps():
        return config  # it was refused or stopped before it began: no other run is lost
    before = read_config(place).resolve()
    if config.compute.precision == "auto":
        config = with_precision(config, before.compute.precision)
    keys = differing_keys(before, config)
    if keys:
        changes = "; ".join(
            f"{key} was {_value(before, key)!r}, is {_value(config, key)!r}" for key in keys[:5]
        )
        raise InputError(
            f"output {directory} holds another run: {changes}. Choose another output, or set "
            "these back to go on with it"
        )
    return config


def with_precision(config: RunConfig, precision: Precision) -> RunConfig:
    """Return a run in a precision."""
    return replace(config, compute=replace(config.compute, precision=precision))


def keep_config(config: RunConfig) -> None:
    """Write down a run as it was chosen, in its directory."""
    write_config(config, Path(config.output) / CONFIG_NAME)


def _value(config: RunConfig, key: str) -> Any:
    value: Any = asdict(config)
    for part in key.split("."):
        value = value[part]
    return value
