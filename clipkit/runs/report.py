"""The report of a training run: report.json, a table for the terminal, curves over the steps."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Self

from clipkit.errors import MissingExtraError, TrainingError
from clipkit.files import read_json_object, write_bytes, write_text
from clipkit.models.public_name import FINAL_NAME
from clipkit.training.key_names import RENAMED_METRICS, RENAMED_REPORT_KEYS, rename

REPORT_NAME = "report.json"


@dataclass(frozen=True)
class TrainingReport:
    """Measurements before and after a training run, and what a person should know of it.

    Attributes:
        directory: Of the run.
        is_finished: False: someone asked to stop; the same command resumes the run.
        step: How many steps were taken.
        num_steps: How many were planned; early stopping takes fewer.
        seconds: Of training and validating, without interruptions.
        num_pairs: Trained on.
        num_parameters: Weights of both towers, adapters (LoRA) included; 0: an earlier version of
            clipkit did not count them.
        num_trained: Of them.
        num_validated: Pairs that were measured on, without those that could not be read.
        extensions: The steps after which the run was extended (``--extend``), in order.
        best_step: The step whose weights were kept.
        alpha: Share of the trained weights in the final ones (WiSE-FT); None: no interpolation.
        start: Metrics before the first step, by name.
        end: Metrics of the trained weights, those of best_step.
        final: Metrics of the weights in the final checkpoint.
        intervals: Where the true score and accuracy on the retention set of the final weights lie
            with 95 %, by name: low and high.
        interpolations: Every alpha that was measured, with its metrics.
        bad: Pairs that could not be read: name and reason.
        notes: Sentences that a person should know: what decided, and how sure it is.
        warnings: Sentences on settings and data that are probably not what was meant, as they came.
    """

    directory: str
    is_finished: bool
    step: int
    num_steps: int
    seconds: float
    num_pairs: int
    num_parameters: int = 0
    num_trained: int = 0
    num_validated: int = 0
    extensions: tuple[int, ...] = ()
    best_step: int | None = None
    alpha: float | None = None
    start: Mapping[str, float] = field(default_factory=dict)
    end: Mapping[str, float] = field(default_factory=dict)
    final: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    interpolations: tuple[tuple[float, Mapping[str, float]], ...] = ()
    bad: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def checkpoint(self) -> Path:
        """Directory of the final checkpoint in open_clip's layout, there once is_finished is True.

        It is one as Encoder.save writes it.
        """
        return Path(self.directory) / FINAL_NAME

    def to_dict(self) -> dict[str, Any]:
        """Return the report as values that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Return the report that :meth:`to_dict` gave, of this version or an earlier one."""
        values = rename(content, RENAMED_REPORT_KEYS)
        for name in ("start", "end", "final"):
            values[name] = rename(values[name], RENAMED_METRICS)
        values["interpolations"] = tuple(
            (alpha, rename(metrics, RENAMED_METRICS)) for alpha, metrics in values["interpolations"]
        )
        values["intervals"] = {
            name: (low, high) for name, (low, high) in values.get("intervals", {}).items()
        }
        for name in ("notes", "warnings", "extensions"):
            values[name] = tuple(values.get(name, ()))
        return cls(**values)


def write_report(report: TrainingReport) -> None:
    """Write a report into its run's directory, whole or not at all."""
    # In ASCII: a file name may hold bytes that are not UTF-8.
    text = json.dumps(report.to_dict(), indent=2) + "\n"
    write_text(Path(report.directory) / REPORT_NAME, text)


def read_report(directory: Path) -> TrainingReport | None:
    """Return the report of a run that has ended, None of one that has not.

    A damaged one counts as none: what it had is measured again.
    """
    try:
        content = read_json_object(directory / REPORT_NAME, TrainingError)
        return TrainingReport.from_dict(content)
    except (TrainingError, AttributeError, KeyError, TypeError, ValueError):
        return None


# Shown in this order; what is left out is in report.json.
_SHOWN = {
    "accuracy": "accuracy",
    "image_to_text_recall@1": "image to text, recall@1",
    "image_to_text_recall@5": "recall@5",
    "text_to_image_recall@1": "text to image, recall@1",
    "text_to_image_recall@5": "recall@5",
    "validation_loss": "validation loss",
    "retention_accuracy": "retention set",
}


_INTERVALS = {
    "score": "what was measured on the validation images",
    "retention_accuracy": "accuracy on the retention set",
}


def report_lines(report: TrainingReport) -> list[str]:
    """Return a report as lines.

    Args:
        report: Of a run that has ended.

    Returns:
        A table of what was measured, the notes, and where the model is.
    """
    minutes = report.seconds / 60
    lines = [f"{report.step} steps on {report.num_pairs} pairs in {minutes:.1f} minutes"]
    if report.num_trained < report.num_parameters:
        lines.append(f"{trained_share(report.num_trained, report.num_parameters)} were trained")
    if report.best_step != report.step:
        lines.append(f"the best weights are those of step {report.best_step}")
    rows = [("start", report.start), ("trained", report.end)]
    for alpha, metrics in report.interpolations:
        if 0 < alpha < 1:
            rows.append((f"alpha {alpha:.1f}", metrics))
    if report.alpha is not None:
        rows.append((f"final ({report.alpha:.1f})", report.final))
    names = [name for name in _SHOWN if any(name in metrics for _, metrics in rows)]
    if names:
        width = max(len(title) for title, _ in rows)
        heads = [_SHOWN[name] for name in names]
        lines.append("  ".join(["".ljust(width), *heads]))
        lines += [
            "  ".join([title.ljust(width), *(_cell(metrics, name) for name in names)])
            for title, metrics in rows
        ]
    lines += [
        f"{_INTERVALS[name]} of the final weights, with 95 %: {low:.1%} to {high:.1%}"
        for name, (low, high) in report.intervals.items()
    ]
    if report.bad:
        lines.append(f"{len(report.bad)} pairs could not be read: report.json lists them")
    lines += [f"note: {line}" for line in report.notes]
    lines.append(str(report.checkpoint))
    return lines


def trained_share(num_trained: int, num_parameters: int) -> str:
    """Return how many weights are trained, as the beginning of a sentence."""
    share = num_trained / num_parameters
    percent = f"{share:.0%}" if share >= 0.01 else f"{share:.2%}"
    return f"{num_trained:,} of {num_parameters:,} weights ({percent})"


def _cell(metrics: Mapping[str, float], name: str) -> str:
    width = len(_SHOWN[name])
    if name not in metrics:
        return "".rjust(width)
    value = metrics[name]
    text = f"{value:.4f}" if name == "validation_loss" else f"{value:.1%}"
    return text.rjust(width)


# One panel each; a panel whose metrics were never measured is left out.
_PANELS: Sequence[tuple[str, Sequence[str]]] = (
    ("loss", ("loss", "validation_loss")),
    (
        "validation",
        ("accuracy", "image_to_text_recall@1", "text_to_image_recall@1", "retention_accuracy"),
    ),
    ("learning rate", ("lr",)),
    ("logit scale (natural log)", ("logit_scale",)),
)


def draw_curves(metrics: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the metrics of a run over its steps.

    Args:
        metrics: One dict a line, as the metrics log has them.
        path: Where the PNG goes; it appears whole or not at all.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # not pyplot, which looks for a display
    except ImportError as error:
        raise MissingExtraError("torch", "Drawing the curves of a run") from error

    panels = []
    for title, names in _PANELS:
        lines = {name: points for name in names if (points := _points(metrics, name))}
        if lines:
            panels.append((title, lines))
    if not panels:
        return
    figure = Figure(figsize=(9, 2.6 * len(panels)), layout="constrained")
    for axes, (title, lines) in zip(
        figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True
    ):
        for name, points in lines.items():
            few = len(points) < 50
            axes.plot(*zip(*points, strict=True), label=name, marker="o" if few else "")
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.grid(visible=True, alpha=0.3)
        if len(lines) > 1:
            axes.legend()
    content = BytesIO()
    figure.savefig(content, format="png", dpi=120)
    write_bytes(path, content.getvalue())


def _points(metrics: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    """Return (step, value) wherever a metric was measured and is a number."""
    values = ((entry["step"], entry.get(name)) for entry in metrics)
    return [(step, value) for step, value in values if value is not None]
