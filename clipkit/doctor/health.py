"""Checks and the diagnosis that they make up: what was looked at, what was found, what to do."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from clipkit.doctor.description import ModelDescription

Verdict = Literal["ok", "remark", "problem"]
"""Of a problem it is known that something computes wrong; a remark is for a person to judge."""


@dataclass(frozen=True)
class HealthCheck:
    """One thing that was looked at, and what was found."""

    name: str  # as in "weights file"
    looked_at: str  # a file, a folder or a setting
    figure: str  # what was measured or read
    verdict: Verdict = "ok"
    advice: str = ""  # what to do; empty where there is nothing to

    def __str__(self) -> str:
        return f"{self.figure}{f': {self.advice}' if self.advice else ''}"


@dataclass(frozen=True)
class Diagnosis:
    """What :func:`clipkit.diagnose` found: checks, and of a model what decides its embeddings."""

    name: str  # of the model, the folder or the file
    kind: str  # "model", "index", "calibration", "head", "concept" or "machine"
    checks: tuple[HealthCheck, ...]
    model: ModelDescription | None = None  # None: not of a model, or of one that cannot be opened

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know."""
        return tuple(str(check) for check in self.checks if check.verdict == "remark")

    @property
    def problems(self) -> tuple[str, ...]:
        """What makes results wrong."""
        return tuple(str(check) for check in self.checks if check.verdict == "problem")

    @property
    def is_healthy(self) -> bool:
        """Whether nothing wrong was found."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return what ``clipkit doctor --json`` prints.

        Returns:
            The fields by name, those of the model among them, with "remarks", "problems" and
            "is_healthy".
        """
        return {
            **({} if self.model is None else self.model.to_dict()),
            "name": self.name,
            "kind": self.kind,
            "checks": [dataclasses.asdict(check) for check in self.checks],
            "remarks": self.remarks,
            "problems": self.problems,
            "is_healthy": self.is_healthy,
        }


def has_problem(checks: Iterable[HealthCheck]) -> bool:
    """Return whether one of the checks found a problem."""
    return any(check.verdict == "problem" for check in checks)


def broken_file(kind: str, path: Path, error: Exception) -> Diagnosis:
    """Return the diagnosis of a file of a kind, such as "head", that cannot be loaded."""
    check = HealthCheck(f"{kind} file", str(path), str(error), "problem")
    return Diagnosis(str(path), kind, (check,))
