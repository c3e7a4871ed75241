"""A training report as lines for a person."""

from collections.abc import Mapping

from clipkit.runs.report import TrainingReport

# Shown in this order; what is left out is in report.json.
_SHOWN = {
    "accuracy": "accuracy",
    "image_to_text_recall@1": "picture to text, recall@1",
    "image_to_text_recall@5": "recall@5",
    "text_to_image_recall@1": "text to picture, recall@1",
    "text_to_image_recall@5": "recall@5",
    "validation_loss": "validation loss",
    "tripwire_accuracy": "reference set",
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
    if report.best_step != report.step:
        lines.append(f"the best weights are those of step {report.best_step}")
    rows = [("start", report.start), ("trained", report.end)]
    for alpha, metrics in report.mixtures:
        if 0 < alpha < 1:
            rows.append((f"{alpha:.1f} of it", metrics))
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
    if report.bad:
        lines.append(f"{len(report.bad)} pairs could not be read: report.json lists them")
    lines += [f"note: {line}" for line in report.notes]
    lines.append(str(report.checkpoint))
    return lines


def _cell(metrics: Mapping[str, float], name: str) -> str:
    width = len(_SHOWN[name])
    if name not in metrics:
        return "".rjust(width)
    value = metrics[name]
    text = f"{value:.4f}" if name == "validation_loss" else f"{value:.1%}"
    return text.rjust(width)
