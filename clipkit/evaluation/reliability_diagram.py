"""Reliability diagram: accuracy over confidence, as an image."""

import io
import warnings
from collections.abc import Sequence
from typing import Any

from clipkit.errors import InputError, MissingExtraError
from clipkit.metrics.calibration import ReliabilityBin

SOFTWARE = "clipkit evaluate"  # in the file, so that it is known again

# The key under which matplotlib writes that, by format; and no time, so that equal data give
# equal files.
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": SOFTWARE},
    "svg": {"Creator": SOFTWARE, "Date": None},
    "pdf": {"Creator": SOFTWARE, "CreationDate": None},
}


def diagram_format(suffix: str) -> str:
    """Return the format of a diagram; refuse one that cannot be drawn, before any work.

    Args:
        suffix: Of the file that it shall be in, such as ".png".

    Returns:
        png, svg or pdf.

    Raises:
        InputError: If it is none of these.
        MissingExtraError: If matplotlib is not installed.
    """
    kind = suffix.lower().removeprefix(".")
    if kind not in _METADATA:
        known = ", ".join(f".{name}" for name in _METADATA)
        raise InputError(f"a diagram is a file that ends in {known}, got {suffix or 'no ending'}")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("evaluate", "A reliability diagram") from error
    return kind


def draw_reliability_diagram(bins: Sequence[ReliabilityBin], title: str, kind: str) -> bytes:
    """Return a diagram of accuracy over confidence: on its diagonal a model is as right as it says.

    Args:
        bins: By confidence.
        title: Over the diagram.
        kind: As :func:`diagram_format` returns it.

    Returns:
        The content of a file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5.5), layout="constrained")
    axes, below = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    lows, widths = [part.low for part in bins], [part.high - part.low for part in bins]
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
    axes.bar(lows, [part.accuracy for part in bins], widths, align="edge", edgecolor="white")
    axes.plot([part.confidence for part in bins], [part.accuracy for part in bins], "k.")
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    axes.set_title(title if len(title) <= 60 else f"{title[:59]}…", parse_math=False)
    below.bar(lows, [part.count for part in bins], widths, align="edge", edgecolor="white")
    below.set(xlabel="confidence", ylabel="images")
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # of other scripts: boxes are drawn
        figure.savefig(content, format=kind, dpi=120, metadata=_METADATA[kind])
    return content.getvalue()
