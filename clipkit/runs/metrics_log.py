"""The metrics log of a run: JSON Lines and TensorBoard."""

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipkit.errors import MissingExtraError
from clipkit.files import write_text
from clipkit.training.key_names import RENAMED_METRICS, rename
from clipkit.training.loop import Validation

METRICS_NAME = "metrics.jsonl"


class MetricsLog:
    """Writes metrics as they come; a run that is resumed adds to its file.

    Args:
        directory: Of the run.
        step: How many steps are done; lines of later steps, which were lost, are deleted. At step 0
            all lines are.
    """

    def __init__(self, directory: Path, *, step: int = 0) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise MissingExtraError("torch", "Writing metrics for TensorBoard") from error

        self._path = directory / METRICS_NAME
        kept = [line for line in read_metrics(directory) if 0 < step >= line["step"]]
        write_text(self._path, "".join(_line(entry) for entry in kept))
        self._file = self._path.open("a", encoding="utf-8")
        self._board = SummaryWriter(
            str(directory / "tensorboard"),
            purge_step=step + 1 if step else 0,
            # Resumed in the second it began, a run would otherwise overwrite its first file.
            filename_suffix=f".{time.time_ns()}",
        )

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write the metrics of a training step.

        Args:
            step: How many steps are done.
            metrics: Numbers by name.
        """
        self._write({"step": step, "kind": "training", **metrics})

    def write_validation(self, step: int, validation: Validation) -> None:
        """Write what was measured after a step.

        Args:
            step: How many steps are done.
            validation: The measurement.
        """
        self._write(
            {"step": step, "kind": "validation", "score": validation.score, **validation.metrics}
        )

    def _write(self, entry: Mapping[str, Any]) -> None:
        self._file.write(_line(entry))
        self._file.flush()
        for name, value in entry.items():
            if isinstance(value, float):
                self._board.add_scalar(name, value, entry["step"])

    def close(self) -> None:
        """Write out what is buffered."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._board.close()


def read_metrics(directory: Path) -> list[dict[str, Any]]:
    """Return the metrics of a run, in the order they were written.

    Args:
        directory: Of the run.

    Returns:
        One dict a line, with the names of today; a last line that was cut off by a crash is left
        out.
    """
    path = directory / METRICS_NAME
    if not path.is_file():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("step"), int):
            entries.append(rename(entry, RENAMED_METRICS))
    return entries


def read_validation(directory: Path, *, step: int) -> Validation:
    """Return what was measured after a step.

    Args:
        directory: Of the run.
        step: How many steps were done.

    Returns:
        The measurement; without metrics if there was none.
    """
    for entry in read_metrics(directory):
        if entry.pop("step") == step and entry.pop("kind", "") == "validation":
            score = entry.pop("score", None)
            return Validation(score, entry)
    return Validation(None, {})


def _line(entry: Mapping[str, Any]) -> str:
    # JSON knows no infinity; a reader in another language would stop at it.
    values = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in entry.items()
    }
    return json.dumps(values) + "\n"
