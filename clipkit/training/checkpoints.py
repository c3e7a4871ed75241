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
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from clipkit.errors import CheckpointError, ClipkitWarning, TrainingError
from clipkit.files import file_sha256, put_in_place, read_json_object, sync_directory
from clipkit.models.checkpoint import save_towers
from clipkit.models.towers import Towers

STATE_NAME = "training_state.pt"
SUMS_NAME = "checksums.json"
_NAME = re.compile(r"step-(\d{8,})")


class RunCheckpoints:
    """The checkpoints below one directory.

    Args:
        directory: The directory of all checkpoints; made when the first is written.
        tokenizer_json: The vocabulary, for a model without a file of its own.
    """

    def __init__(self, directory: Path, *, tokenizer_json: str | None = None) -> None:
        self.directory = directory
        self._tokenizer_json = tokenizer_json

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
                torch.save(state, draft / STATE_NAME)
                # Neither torch nor safetensors notices a bit that has flipped on the disk.
                (draft / SUMS_NAME).write_text(json.dumps(_checksums(draft)), encoding="utf-8")
                for name in (STATE_NAME, SUMS_NAME):
                    with (draft / name).open("rb+") as file:
                        os.fsync(file.fileno())
                sync_directory(draft)
                put_in_place(draft, directory)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        except (OSError, CheckpointError, RuntimeError) as error:
            # torch reports a full disk as a RuntimeError.
            kept = self.steps()
            last = f"the last good one is of step {kept[-1]}" if kept else "there is none yet"
            raise TrainingError(
                f"the checkpoint of step {step} cannot be written: {error}; {last}. "
                "Make room and give the same command to resume"
            ) from error
        return directory

    def load_newest(self) -> tuple[Path, dict[str, Any]] | None:
        """Return the newest checkpoint that can be read, with its state.

        Returns:
            Its directory and state, None if there is none. A damaged one is skipped with a
            warning.
        """
        for step in reversed(self.steps()):
            directory = self.path(step)
            damaged = _damaged_files(directory)
            if damaged:
                names = ", ".join(damaged)
                warnings.warn(
                    f"{directory} is damaged and is skipped: {names}", ClipkitWarning, stacklevel=2
                )
                continue
            return directory, torch.load(
                directory / STATE_NAME, map_location="cpu", weights_only=True
            )
        return None

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
        """Delete all checkpoints but the newest ones and the best, and what killed runs left.

        Args:
            keep: How many of the newest stay.
            best: The step of the best one.
        """
        for step in self.steps()[:-keep]:
            if step != best:
                shutil.rmtree(self.path(step), ignore_errors=True)
        if self.directory.is_dir():
            for path in self.directory.glob(".*step-*"):
                shutil.rmtree(path, ignore_errors=True)


def _checksums(directory: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in a directory, by name."""
    return {path.name: file_sha256(path) for path in sorted(directory.iterdir())}


def _damaged_files(directory: Path) -> list[str]:
    """Return which files of a checkpoint are not as they were written."""
    try:
        written = read_json_object(directory / SUMS_NAME, CheckpointError)
        found = _checksums(directory)
        return [name for name, digest in written.items() if found.get(name) != digest]
    except (CheckpointError, OSError):
        return [SUMS_NAME]
