"""What the runs of a sweep have come to: a table, a plot, JSON."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

from clipkit.errors import MissingExtraError
from clipkit.files import write_bytes, write_text
from clipkit.markdown import table
from clipkit.runs.metrics_log import read_metrics
from clipkit.runs.report import TrainingReport
from clipkit.runs.validation import RETENTION_ACCURACY, score_of

SWEEP_NAME = "sweep.json"
_MOST_NAMES = 8  # of other runs in a note
_FACTOR = 10  # values that are spread by so much are drawn on a logarithmic axis


@dataclass(frozen=True)
class SweepRow:
    """What one run of a sweep has come to.

    Attributes:
        settings: The values that are its own, by key.
        directory: Of the run.
        status: "waiting" runs have not begun; "stopped" ones resume; "failed" says why in problem.
        score: Of the trained weights on the validation pairs, at their best step: the accuracy on
            class folders, else the mean of all recalls.
        step: That step; of a run that was stopped, how many it has taken.
        final_score: Of the final weights, which WiSE-FT may have drawn nearer to the base model.
        retention_accuracy: Of the final weights on the retention set; None: there is none.
        seconds: Of training and validating.
        problem: Why it failed.
    """

    settings: Mapping[str, Any]
    directory: str
    status: Literal["waiting", "finished", "stopped", "failed"]
    score: float | None = None
    step: int | None = None
    final_score: float | None = None
    retention_accuracy: float | None = None
    seconds: float | None = None
    problem: str = ""


@dataclass(frozen=True)
class SweepReport:
    """What the runs of a sweep have come to.

    Attributes:
        directory: Of the sweep.
        rows: One a run, in the order in which they are trained.
        others: Names of runs in the directory that have ended and have no row, as they were of a
            sweep of other values.
    """

    directory: str
    rows: tuple[SweepRow, ...]
    others: tuple[str, ...] = ()

    @property
    def best(self) -> SweepRow | None:
        """The run whose final weights have the highest score, the first of equal ones."""
        scored = [row for row in self.rows if row.final_score is not None]
        return max(scored, key=lambda row: row.final_score or 0.0, default=None)

    @property
    def is_stopped(self) -> bool:
        """Whether someone asked to stop before all runs had ended."""
        return any(row.status == "stopped" for row in self.rows)

    @property
    def has_failed(self) -> bool:
        """Whether a run has failed."""
        return any(row.status == "failed" for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as values that JSON can hold."""
        best = self.best
        return {
            "directory": self.directory,
            "best": None if best is None else best.directory,
            "rows": [asdict(row) for row in self.rows],
            "others": list(self.others),
            "notes": list(self.notes()),
        }

    def lines(self) -> list[str]:
        """Return a table of the runs in Markdown, and what a person should know of it."""
        keys = list(self.rows[0].settings)
        header = [*keys, "run", "score", "at step", "final score", "retained", "seconds"]
        body = [self._cells(row) for row in self.rows]
        return [*table(header, body, num_text=len(keys) + 1), "", *self.notes()]

    def notes(self) -> Iterator[str]:
        """Yield sentences that a person should know."""
        best = self.best
        num_scored = sum(row.final_score is not None for row in self.rows)
        if best is not None:
            yield f"the best final weights: {Path(best.directory) / 'final'}"
        if num_scored > 1:
            yield (
                f"the best of {num_scored} settings was chosen on the validation pairs, so its "
                "score is optimistic: measure it on other pairs by clipkit evaluate"
            )
        for row in self.rows:
            if row.status == "failed":
                yield f"{Path(row.directory).name} failed: {row.problem}"
        if self.others:
            verb, be = ("have", "are") if len(self.others) > 1 else ("has", "is")
            names = ", ".join(self.others[:_MOST_NAMES])
            if len(self.others) > _MOST_NAMES:
                names += f" and {len(self.others) - _MOST_NAMES} more"
            yield (
                f"{names} {verb} been trained in this directory too, and {be} not compared here: "
                "sweep their values as well"
            )

    def _cells(self, row: SweepRow) -> list[str]:
        return [
            *(f"{value}" for value in row.settings.values()),
            "best" if row is self.best else row.status,
            _percent(row.score),
            "" if row.step is None else f"{row.step}",
            _percent(row.final_score),
            _percent(row.retention_accuracy),
            "" if row.seconds is None else f"{row.seconds:.1f}",
        ]


def finished_row(row: SweepRow, report: TrainingReport) -> SweepRow:
    """Return a row with what the report of its run says."""
    return replace(
        row,
        status="finished",
        score=score_of(report.end),
        step=report.best_step,
        final_score=score_of(report.final),
        retention_accuracy=report.final.get(RETENTION_ACCURACY),
        seconds=report.seconds,
    )


def write_sweep(report: SweepReport) -> None:
    """Write sweep.json, sweep.md and, once there are scores, sweep.png."""
    directory = Path(report.directory)
    write_text(directory / "sweep.md", "\n".join(report.lines()) + "\n")
    _draw(report, directory / "sweep.png")
    write_text(directory / SWEEP_NAME, json.dumps(report.to_dict(), indent=2) + "\n")


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _draw(report: SweepReport, path: Path) -> None:
    """Draw the score by the value; of several settings, the score over the steps of each run."""
    try:
        from matplotlib.figure import Figure  # not pyplot, which looks for a display
    except ImportError as error:
        raise MissingExtraError("torch", "Drawing a sweep") from error

    scored = [row for row in report.rows if row.final_score is not None]
    if not scored:
        return
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    keys = list(scored[0].settings)
    if len(keys) == 1:
        values = [row.settings[keys[0]] for row in scored]
        if not all(isinstance(value, int | float) for value in values):
            values = [f"{value}" for value in values]
        elif min(values) > 0 and max(values) >= _FACTOR * min(values):
            axes.set_xscale("log")
        points = sorted(zip(values, scored, strict=True), key=lambda pair: pair[0])
        for name, title in (("score", "trained"), ("final_score", "final")):
            scores = [getattr(row, name) for _, row in points]
            axes.plot([value for value, _ in points], scores, marker="o", label=title)
        axes.set_xlabel(keys[0])
    else:
        for row in scored:
            measured = [
                (entry["step"], entry["score"])
                for entry in read_metrics(Path(row.directory))
                if isinstance(entry.get("score"), float) and math.isfinite(entry["score"])
            ]
            axes.plot(*zip(*measured, strict=True), marker=".", label=Path(row.directory).name)
        axes.set_xlabel("step")
    axes.set_ylabel("score on the validation pairs")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="small")
    content = BytesIO()
    figure.savefig(content, format="png", dpi=120)
    write_bytes(path, content.getvalue())
