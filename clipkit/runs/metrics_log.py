"""The metrics log of a run: JSON Lines and TensorBoard."""

import json
import math
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Self

from clipkit.errors import MissingExtraError
from clipkit.files import write_text
from clipkit.training.key_names import RENAMED_METRICS, rename
from clipkit.training.loop import Validation

METRICS_NAME = "metrics.jsonl"
_FLUSH_SECONDS = 10  # of what TensorBoard shows: a flush waits for the disk


class MetricsLog:
    """Writes metrics as they come; a run that is resumed adds to its file.

    Args:
        directory: Of the run.
        step: How many steps are done; lines of later steps, which were lost, are deleted. At step 0
            all lines are.
        tell: Called with each line as it is written, and first with those that are kept.

    Raises:
        OSError: If a file cannot be written, from each method; it names the file.
    """

    def __init__(
        self,
        directory: Path,
        *,
        step: int = 0,
        tell: Callable[[Mapping[str, Any]], None] = lambda entry: None,
    ) -> None:
        kept = [line for line in read_metrics(directory) if 0 < step >= line["step"]]
        self._path = directory / METRICS_NAME
        write_text(self._path, "".join(_line(entry) for entry in kept))
        self._board = _Board(directory / "tensorboard", begin=step + 1 if step else 0)
        # Without a buffer: what a full disk refuses would be tried again when it is closed.
        self._file = self._path.open("ab", buffering=0)
        self._tell = tell
        for entry in kept:
            tell(entry)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write the metrics of training.

        Args:
            step: How many steps are done.
            metrics: Numbers by name: means of the steps since the line before.
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

    def __enter__(self) -> Self:
        """Write until the block ends."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close it; where an error ends the block, one of closing would hide it."""
        with nullcontext() if kind is None else suppress(OSError):
            self.close()

    def _write(self, entry: Mapping[str, Any]) -> None:
        with _named(str(self._path)):
            line = _line(entry).encode()
            while line:  # the last bytes of a disk may take a part of it
                line = line[self._file.write(line) :]
        numbers = {name: value for name, value in entry.items() if isinstance(value, float)}
        self._board.write(entry["step"], numbers)
        self._tell(entry)

    def close(self) -> None:
        """Write out what is buffered."""
        with closing(self._file), closing(self._board), _named(str(self._path)):
            os.fsync(self._file.fileno())


class _Board:
    """Writes an event file of TensorBoard.

    In this thread: tensorboardX's own SummaryWriter waits for ever for its thread once that has met
    a full disk.

    Args:
        directory: Of all event files.
        begin: The step at which it begins; what others hold of this step and later ones was lost.
    """

    def __init__(self, directory: Path, *, begin: int) -> None:
        try:
            from tensorboardX.proto.event_pb2 import Event, SessionLog
            from tensorboardX.record_writer import RecordWriter
            from tensorboardX.summary import scalar
        except ImportError as error:
            raise MissingExtraError("torch", "Writing metrics for TensorBoard") from error

        self._directory, self._event, self._scalar = str(directory), Event, scalar
        self._flushed = -math.inf
        with _named(self._directory):
            directory.mkdir(exist_ok=True)
            # TensorBoard knows the files by "tfevents", and reads them in the order of their names.
            name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}"
            self._file = RecordWriter(str(directory / name))
            self._add(file_version="brain.Event:2")
            self._add(step=begin, session_log=SessionLog(status=SessionLog.START))

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Write numbers by name; they are on the disk within seconds of the next call."""
        with _named(self._directory):
            for name, value in numbers.items():
                self._add(step=step, summary=self._scalar(name, value))
            if time.monotonic() - self._flushed > _FLUSH_SECONDS:
                self._file.flush()
                self._flushed = time.monotonic()

    def close(self) -> None:
        """Write out what is buffered."""
        with _named(self._directory), closing(self._file):
            self._file.flush()

    def _add(self, **content: Any) -> None:
        self._file.write(self._event(wall_time=time.time(), **content).SerializeToString())


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Name the file in an error that names none, as that of a full disk."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or path
        raise


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
