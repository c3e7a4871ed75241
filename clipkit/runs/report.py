"""What a run came to, for a person and for programs."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

REPORT_NAME = "report.json"
FINAL_NAME = "final"


@dataclass(frozen=True)
class TrainingReport:
    """What a training run came to."""

    directory: str  # of the run
    is_finished: bool  # False: someone asked to stop; the same command goes on
    step: int
    num_steps: int
    seconds: float  # of work, over all sittings
    num_pairs: int  # trained on
    num_validated: int = 0  # pairs that were measured on, without those that could not be read
    best_step: int | None = None  # whose weights were taken
    alpha: float | None = None  # share of the trained weights in the final ones; None: not mixed
    start: Mapping[str, float] = field(default_factory=dict)  # measured before the first step
    end: Mapping[str, float] = field(default_factory=dict)  # of the trained weights
    final: Mapping[str, float] = field(default_factory=dict)  # of those in the final checkpoint
    # Of every alpha that was measured, the metrics.
    mixtures: tuple[tuple[float, Mapping[str, float]], ...] = ()
    bad: Mapping[str, str] = field(default_factory=dict)  # pairs that were not read: name, reason
    notes: tuple[str, ...] = ()  # what a person should know

    @property
    def checkpoint(self) -> Path:
        """Directory of the final checkpoint, which clipkit and open_clip load."""
        return Path(self.directory) / FINAL_NAME

    def to_json(self) -> str:
        """Return the report as the text of a JSON object."""
        # In ASCII: a file's name may hold what UTF-8 has no letter for.
        return json.dumps(asdict(self), indent=2) + "\n"


def write_report(report: TrainingReport) -> None:
    """Write a report into its run's directory, whole or not at all."""
    path = Path(report.directory) / REPORT_NAME
    draft = path.with_suffix(".part")
    draft.write_text(report.to_json(), encoding="utf-8")
    draft.replace(path)


def read_report(directory: Path) -> TrainingReport | None:
    """Return the report of a run that has ended, None of one that has not."""
    try:
        content: dict[str, Any] = json.loads((directory / REPORT_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    content["mixtures"] = tuple((alpha, metrics) for alpha, metrics in content["mixtures"])
    return TrainingReport(**{**content, "notes": tuple(content["notes"])})
