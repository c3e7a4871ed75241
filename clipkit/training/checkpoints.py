"""The checkpoints of a run: each a directory that appears whole, the last good one always there.

RUN/checkpoints/step-00001200/    a checkpoint in open_clip's layout, which clipkit loads
    training_state.pt             what it takes to resume from it
    checksums.json                SHA-256 of each of its files
"""

import json
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clipkit.errors import CheckpointError, TrainingError
from clipkit.files import file_sha256, put_in_place, read_json_object, sync_directory
from clipkit.models.checkpoint import save_towers
from clipkit.models.towers import Towers

STATE_NAME = "training_state.pt"
SUMS_NAME = "checksums.json"
_NAME = re.compile(r"step-(\d{8,})")

_Stamps = dict[str, tuple[int, int]]  # size and time of change of each file, by name


class RunCheckpoints:
    """The checkpoints below one directory.

    Each is read and compared with its checksums once in a process, and again if the size or time of
    a file has changed. One that this process wrote is not: its checksums were taken from its files,
    and the system has said that they are on the disk; read again, they would come out of memory.

    Args:
        directory: The directory of all checkpoints; made when the first is written.
        tokenizer_json: The vocabulary, for a model without a file of its own.
    """

    def __init__(self, directory: Path, *, tokenizer_json: str | None = None) -> None:
        self.directory = directory
        self._tokenizer_json = tokenizer_json
        self._known: dict[int, tuple[_Stamps, list[str]]] = {}  # with its damaged files, by step

    def save(self, step: int, towers: Towers, state: Mapping[str, Any]) -> Path:
        """Write a checkpoint: whole and on the disk when this returns, or not at all.

        Args:
            step: How many steps are done.
            towers: The weights.
            state: What else it takes to resume.

        Returns:
            The checkpoint's directory.

        Raises:
            TrainingError: If it cannot be written; those before it are untouched.
        """
        directory = self.path(step)
        draft = self.directory / f".{directory.name}.{uuid.uuid4().hex}.part"
        try:
            draft.mkdir(parents=True)
            try:
                save_towers(towers, draft, tokenizer_json=self._tokenizer_json)
                _write_state(state, draft)
                put_in_place(draft, directory)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        except (OSError, CheckpointError, RuntimeError) as error:
            # torch reports a full disk as a RuntimeError.
            size = _num_bytes(towers.model.state_dict()) + _num_bytes(state)
            room = f"about {ceil(size / 1e6):,} MB{_free_room(self.directory)}"
            raise TrainingError(
                f"the checkpoint of step {step} cannot be written to {self.directory}: "
                f"{_reason(error)}. It needs {room}. Make room, or put right what else is wrong; "
                f"{self.outlook()}"
            ) from error
        self._known[step] = (_stamps(directory), [])
        return directory

    def load(self, step: int) -> tuple[Path, dict[str, Any]]:
        """Return the directory of a good checkpoint, and its state."""
        directory = self.path(step)
        state = torch.load(directory / STATE_NAME, map_location="cpu", weights_only=True)
        return directory, state

    def newest_good(self) -> tuple[int | None, dict[int, list[str]]]:
        """Find the newest checkpoint that is as it was written.

        Returns:
            Its step, None if there is none; and of each later one its damaged files, by step.
        """
        damaged: dict[int, list[str]] = {}
        for step in reversed(self.steps()):
            files = self._damage(step)
            if not files:
                return step, damaged
            damaged[step] = files
        return None, damaged

    def damaged_files(self, step: int) -> list[str]:
        """Read a whole checkpoint, and return which of its files are not as they were written."""
        self._known.pop(step, None)
        return self._damage(step)

    def outlook(self) -> str:
        """Return what the same command does next, as a clause."""
        step, damaged = self.newest_good()
        if step is not None:
            return f"the same command resumes after step {step}"
        if damaged:
            return f"no checkpoint in {self.directory} is whole"
        return "the same command starts from the first step, as there is no checkpoint yet"

    def newest_path(self) -> Path | None:
        """Return the directory of the newest good checkpoint, None if there is none."""
        step, _ = self.newest_good()
        return None if step is None else self.path(step)

    def path(self, step: int) -> Path:
        """Return the directory of the checkpoint of a step."""
        return self.directory / f"step-{step:08}"

    def steps(self) -> list[int]:
        """Return the steps of all checkpoints, in ascending order."""
        if not self.directory.is_dir():
            return []
        names = (_NAME.fullmatch(path.name) for path in self.directory.iterdir())
        return sorted(int(match[1]) for match in names if match)

    def prune(self, keep: int, best: int) -> None:
        """Delete all checkpoints but the newest good ones and the best, and what killed runs left.

        A damaged one stays until a later one is good.

        Args:
            keep: How many of the newest good ones stay.
            best: The step of the best one.
        """
        num_kept = 0
        for step in reversed(self.steps()):
            if num_kept < keep and not self._damage(step):
                num_kept += 1
            elif num_kept and step != best:
                shutil.rmtree(self.path(step), ignore_errors=True)
        if self.directory.is_dir():
            for path in self.directory.glob(".*step-*"):
                shutil.rmtree(path, ignore_errors=True)

    def _damage(self, step: int) -> list[str]:
        """Return the damaged files of a checkpoint, which is read only if it is not known."""
        directory = self.path(step)
        stamps = _stamps(directory)
        known = self._known.get(step)
        if known is None or known[0] != stamps:
            known = self._known[step] = (stamps, _damaged_files(directory))
        return known[1]


def _write_state(state: Mapping[str, Any], draft: Path) -> None:
    """Write what else it takes to resume, and the checksums of all that is there."""
    with (draft / STATE_NAME).open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    # Neither torch nor safetensors notices a bit that has flipped on the disk.
    sums = {path.name: file_sha256(path) for path in sorted(draft.iterdir())}
    with (draft / SUMS_NAME).open("w", encoding="utf-8") as sums_file:
        json.dump(sums, sums_file)
        sums_file.flush()
        os.fsync(sums_file.fileno())
    sync_directory(draft)


def _damaged_files(directory: Path) -> list[str]:
    try:
        sums = read_json_object(directory / SUMS_NAME, CheckpointError)
    except (CheckpointError, OSError):
        return [SUMS_NAME]
    if STATE_NAME not in sums:
        return [SUMS_NAME]
    return [name for name, digest in sums.items() if _sha256(directory / name) != digest]


def _sha256(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except OSError:  # it is gone, or cannot be read
        return None


def _stamps(directory: Path) -> _Stamps:
    stamps: _Stamps = {}
    with suppress(OSError):
        for path in directory.iterdir():
            status = path.stat()
            stamps[path.name] = (status.st_size, status.st_mtime_ns)
    return stamps


def _num_bytes(values: Any) -> int:
    """Return the bytes of all tensors in nested dicts and lists."""
    if isinstance(values, Tensor):
        return values.numel() * values.element_size()
    if isinstance(values, Mapping):
        values = values.values()
    elif not isinstance(values, list | tuple):
        return 0
    return sum(_num_bytes(value) for value in values)


def _free_room(directory: Path) -> str:
    for place in (directory, *directory.parents):
        with suppress(OSError):
            return f", {shutil.disk_usage(place).free // 10**6:,} MB are free there"
    return ""


def _reason(error: Exception) -> str:
    """Return why a file could not be written, in the words of the system where there are any."""
    for found in (error, error.__cause__, error.__context__):
        if isinstance(found, OSError) and found.strerror:
            return found.strerror
    return str(error.__cause__ or error)
