"""Reliability diagram: accuracy over confidence, as an image."""

import os
from collections.abc import Sequence
from pathlib import Path

from clipkit.errors import InputError, MissingExtraError
from clipkit.files import atomic_write
from clipkit.metrics.calibration import ReliabilityBin

_FORMATS = (".png", ".svg", ".pdf")


def check_diagram_path(path: Path) -> None:
    """Refuse a place for a diagram where none can be written, before any work.

    Args:
        path: The file.

    Raises:
        InputError: If its ending is unknown or its folder is not there.
        MissingExtraError: If matplotlib is not installed.
    """
    if path.suffix.lower() not in _FORMATS:
        raise InputError(f"a diagram is a file that ends in {', '.join(_FORMATS)}, got {path}")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(
            f"{path} cannot be written: {path.parent} is no folder that can be written"
        )
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("evaluate", "A reliability diagram") from error


def write_reliability_diagram(bins: Sequence[ReliabilityBin], title: str, path: Path) -> None:
    """Draw accuracy over confidence: on the diagonal the model is as often right as it says.

    Args:
        bins: By confidence.
        title: Over the diagram.
        path: The file; its ending says the format. What is there is replaced.

    Raises:
        OSError: If it cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5.5), layout="constrained")
    axes, below = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    lows, widths = [part.low for part in bins], [part.high - part.low for part in bins]
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
    axes.bar(lows, [part.accuracy for part in bins], widths, align="edge", edgecolor="white")
    axes.plot([part.confidence for part in bins], [part.accuracy for part in bins], "k.")
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy", title=title)
    below.bar(lows, [part.count for part in bins], widths, align="edge", edgecolor="white")
    below.set(xlabel="confidence", ylabel="images")
    with atomic_write(path) as draft:
        figure.savefig(draft, dpi=120)
