"""The directory of a run: claiming it, and resuming the run that lies there.

RUN/run.toml          the settings, every default written out
    extensions.json   of each extension its settings
    metrics.jsonl     what was measured, a JSON object a line
    tensorboard/      the same for TensorBoard
    curves.png        the same as an image
    checkpoints/      what training resumes from
    final/            the model, for clipkit and open_clip, with a draft of its card
    report.json       measurements before and after training, and notes
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from clipkit.errors import InputError, TrainingError
from clipkit.files import exclusive_lock
from clipkit.models.public_name import FINAL_NAME
from clipkit.paths import expand_home
from clipkit.runs.extension import (
    CONFIG_NAME,
    check_extension,
    ended_report,
    keep_settings,
    kept_settings,
    listed_changes,
)
from clipkit.runs.metrics_log import read_metrics
from clipkit.training.checkpoints import RunCheckpoints
from clipkit.training.config import Precision, RunConfig
from clipkit.training.extension import is_extendable

CHECKPOINTS_NAME = "checkpoints"
_LOCK_NAME = ".lock"
# What may lie in a directory whose run.toml was not written yet: the lock, and drafts of
# run.toml, the first of an earlier version.
_LEFT_BY_A_KILL = (_LOCK_NAME, "run.part", ".clipkit-")
# Settings that may differ when a run is resumed. They change the weights by rounding at most and no
# measurement; or they are paths of pairs, whose fingerprints are compared.
_FREE_KEYS = frozenset(
    {
        "output",
        "data.image_column",
        "data.caption_column",
        "data.caption_ending",
        "data.class_names",
        "data.workers",
        "data.max_bad_fraction",
        "model.gradient_checkpointing",
        "loss.row_chunk",
        "compute.chunk_size",
        "compute.device",
        "compute.sharding",
        "compute.compile",
        "watch.every_epochs",
        "watch.patience",
        "watch.max_forgetting",
        "watch.wise_ft",
        "watch.checkpoint_minutes",
        "watch.checkpoint_steps",
        "watch.keep",
        "watch.log_steps",
        "watch.trackers",
        "watch.tracker_project",
    }
)


def lone_tasks() -> Iterator[str]:
    """Yield what is wrong if Slurm started several of this process that do not know each other."""
    count = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    if count != "1" and "WORLD_SIZE" not in os.environ:
        yield (
            f"Slurm started this {count} times, and each of them is a run by itself: of srun's "
            "tasks one a machine starts torchrun, and torchrun a process a GPU "
            "(docs/cluster/train.sbatch)"
        )


@contextmanager
def claimed_directory(config: RunConfig, *, extend: bool = False) -> Iterator[RunConfig]:
    """Make or enter the directory of a run, for this run alone.

    Args:
        config: The run, resolved.
        extend: Whether its settings may differ as those of an extension do. What lies there is then
            left as it is until the extension begins.

    Yields:
        The run, with what was chosen for it when it began.

    Raises:
        InputError: If something else lies there, or another run, or it lies in the data.
        TrainingError: If another process trains there at the moment.
    """
    refuse_nested(config)
    directory = Path(config.output)
    if directory.is_dir():
        config = as_before(directory, config, extend=extend)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"output {directory} cannot be made: {error.strerror}") from error
    held = TrainingError(
        f"another process trains in {directory}: wait for it, or choose another output"
        + "".join(f". {line}" for line in lone_tasks())
    )
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive_lock(directory / _LOCK_NAME, held))
        except OSError as error:
            raise InputError(f"output {directory} cannot be written: {error}") from error
        _remove_drafts(directory)
        # A finished run keeps the settings that it was trained with.
        if ended_report(directory) is None and not changed_settings(directory, config):
            keep_settings(directory, config)
        yield config


def _remove_drafts(directory: Path) -> None:
    """Delete what killed processes of this run were writing, which may be as large as a model."""
    for pattern in (".clipkit-*", f".{FINAL_NAME}.*", "features/.clipkit-*", "checkpoints/.step-*"):
        for path in directory.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def refuse_nested(config: RunConfig) -> None:
    """Refuse a run whose directory lies in its data.

    Args:
        config: The run.

    Raises:
        InputError: If it does: its curves and texts would be taken for images and captions.
    """
    output = expand_home(config.output).resolve()
    paths = [source.path for source in (*config.data.train, *config.data.validation)]
    for path in (*paths, config.watch.retention_set or ""):
        folder = expand_home(path)
        if path and os.path.isdir(folder) and output.is_relative_to(folder.resolve()):  # noqa: PTH112
            raise InputError(
                f"output {config.output} lies in {path}, so what the run writes would be taken "
                "for data: choose an output elsewhere"
            )


def as_before(directory: Path, config: RunConfig, *, extend: bool = False) -> RunConfig:
    """Return a run with the precision that the run in its directory began with.

    Args:
        directory: Of the run, which is there.
        config: The run, resolved.
        extend: Whether its settings may differ as those of an extension do.

    Returns:
        The run.

    Raises:
        InputError: If something else lies there, or another run.
    """
    if not (directory / CONFIG_NAME).is_file():
        if not all(path.name.startswith(_LEFT_BY_A_KILL) for path in directory.iterdir()):
            raise InputError(
                f"output {directory} holds something that is no training run: choose another output"
            )
        return config
    if not _has_begun(directory):
        return config
    before = kept_settings(directory)
    if config.compute.precision == "auto":
        config = with_precision(config, before.compute.precision)
    if extend:
        check_extension(directory, changed_settings(directory, config))
        return config
    differences = differing_settings(before, config)
    if differences:
        changes = listed_changes(differences)
        if all(is_extendable(key) for key in differences):
            raise InputError(
                f"output {directory} holds a run with other settings: {changes}. To train it "
                "further with these, give --extend (in Python extend=True); or set them back to "
                "resume it, or choose another output"
            )
        raise InputError(
            f"output {directory} holds another run: {changes}. Choose another output, or set "
            "these back to resume it"
        )
    return config


def changed_settings(directory: Path, config: RunConfig) -> dict[str, tuple[Any, Any]]:
    """Return the settings that make a config another run than the one in a directory.

    Args:
        directory: Of the run.
        config: Another, resolved.

    Returns:
        Both values by key; empty also where no run has begun. Of a run that early stopping has
        ended, another patience is such a setting too.
    """
    if not _has_begun(directory):
        return {}
    before, ended = kept_settings(directory), ended_report(directory)
    changes = differing_settings(before, config)
    patience = before.watch.patience, config.watch.patience
    if ended is not None and ended.step < ended.num_steps and patience[0] != patience[1]:
        changes["watch.patience"] = patience
    return changes


def _has_begun(directory: Path) -> bool:
    """Return whether a run has begun there; else it was refused or stopped, and nothing is lost."""
    if not (directory / CONFIG_NAME).is_file():
        return False
    steps = RunCheckpoints(directory / CHECKPOINTS_NAME).steps()
    return bool(read_metrics(directory) or steps)


def with_precision(config: RunConfig, precision: Precision) -> RunConfig:
    """Return a run with another precision."""
    return replace(config, compute=replace(config.compute, precision=precision))


def differing_settings(first: RunConfig, second: RunConfig) -> dict[str, tuple[Any, Any]]:
    """Return the settings that make two configs two different runs.

    Settings that change the weights by rounding at most, and keep measurements comparable, may
    differ when a run is resumed: where it writes, on which device and in which chunks it computes,
    how often it validates and saves, when it stops.

    Args:
        first: A resolved config.
        second: Another.

    Returns:
        Both values by key, as "optimizer.lr", sorted; empty if one run can resume as the other.
    """
    one, two = _flat(asdict(first)), _flat(asdict(second))
    return {
        key: (one[key], two[key])
        for key in sorted(one)
        if one[key] != two[key] and key not in _FREE_KEYS
    }


def _flat(content: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in content.items():
        nested = value.items() if isinstance(value, dict) else ()
        flat |= {f"{name}.{key}": item for key, item in nested} or {name: value}
    return flat
