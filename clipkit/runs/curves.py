"""The curves of a run as one picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clipkit.errors import MissingExtraError

# One panel each; a panel whose metrics were never measured is left out.
_PANELS: Sequence[tuple[str, Sequence[str]]] = (
    ("loss", ("loss", "validation_loss")),
    (
        "validation",
        ("accuracy", "image_to_text_recall@1", "text_to_image_recall@1", "tripwire_accuracy"),
    ),
    ("learning rate", ("lr",)),
    ("scale of cosines", ("logit_scale",)),
)


def draw_curves(metrics: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the metrics of a run over its steps.

    Args:
        metrics: One dict a line, as the journal has them.
        path: Where the PNG goes; it appears whole or not at all.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # no pyplot: it looks for a screen
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
    draft = path.with_suffix(".part")
    figure.savefig(draft, format="png", dpi=120)
    draft.replace(path)


def _points(metrics: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    """Return (step, value) wherever a metric was measured and is a number."""
    values = ((entry["step"], entry.get(name)) for entry in metrics)
    return [(step, value) for step, value in values if value is not None]
