"""A chart of the ladder: accuracy against cost, and against the number of labels."""

import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from clipkit.adaptation.report import AdaptationReport
from clipkit.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SOFTWARE = "clipkit adapt"  # in the file, so that it is known again
_ROOM_FOR_NAMES = 0.12  # above and below the points, of the height of the axes
_LINE = 11  # points, of a name
_FASTEST = 1e-3  # seconds; what takes less is drawn there


def check_chart(suffix: str) -> None:
    """Refuse a chart that cannot be drawn, before any work.

    Args:
        suffix: Of the file that it shall be in, such as ".png".

    Raises:
        InputError: If it is not ".png".
        MissingExtraError: If matplotlib is not installed.
    """
    if suffix.lower() != ".png":
        raise InputError(f"a chart is a file that ends in .png, got {suffix or 'no ending'}")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("evaluate", "A chart") from error


def draw_chart(report: AdaptationReport) -> bytes:
    """Return a chart of a report.

    Args:
        report: Of a ladder.

    Returns:
        The content of a PNG file: accuracy over seconds of fitting, a point a rung, and the
        learning curve where there is one.
    """
    figure = make_figure(report)
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # of other scripts: boxes are drawn
        figure.savefig(content, format="png", dpi=120, metadata={"Software": SOFTWARE})
    return content.getvalue()


def make_figure(report: AdaptationReport) -> "Figure":
    """Return the chart of a report as matplotlib's figure.

    Args:
        report: Of a ladder.

    Returns:
        The figure, with one or two axes.
    """
    from matplotlib.figure import Figure

    has_curve = len(report.curve) > 1
    figure = Figure(figsize=(10 if has_curve else 6, 4.5), layout="constrained")
    axes = figure.subplots(1, 2 if has_curve else 1, sharey=True, squeeze=False)[0]
    _draw_cost(axes[0], report)
    if has_curve:
        _draw_curve(axes[1], report)
    name = report.data if len(report.data) <= 50 else f"…{report.data[-49:]}"
    figure.suptitle(f"{name}: adapting {report.model}", parse_math=False)
    _part_names(figure, axes[0])
    return figure


def _draw_cost(axes: Any, report: AdaptationReport) -> None:
    rungs = [*report.rungs, *([report.baseline] if report.baseline else [])]
    measured = [
        (rung, max(rung.seconds, _FASTEST), 100 * rung.accuracy)
        for rung in rungs
        if rung.accuracy is not None and rung.seconds is not None
    ]
    for rung, seconds, accuracy in measured:
        is_chosen = rung.name == report.recommended
        axes.errorbar(
            seconds,
            accuracy,
            100 * (rung.spread or 0.0),
            fmt="o" if rung.step is not None else "s",
            color="tab:orange" if is_chosen else "tab:blue" if rung.step is not None else "grey",
            capsize=3,
            label=rung.title,
        )
    axes.set(xscale="log", xlabel="seconds to fit, without embedding", ylabel="accuracy, %")
    axes.margins(x=0.08, y=_ROOM_FOR_NAMES)
    axes.grid(alpha=0.3)
    middle = np.sqrt(np.prod(axes.get_xlim()))
    for rung, seconds, accuracy in measured:
        is_right = seconds > middle  # of such a point the name is written to the left
        axes.annotate(
            rung.name if rung.step is not None else rung.title,
            (seconds, accuracy),
            textcoords="offset points",
            xytext=(-6 if is_right else 6, 5),
            horizontalalignment="right" if is_right else "left",
            fontsize=8,
            fontweight="bold" if rung.name == report.recommended else "normal",
        )


def _part_names(figure: "Figure", axes: Any) -> None:
    """Move names that would lie on others, upwards or, in the upper half, downwards."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # of other scripts: boxes are drawn
        figure.draw_without_rendering()  # only then are places known
    frame = axes.get_window_extent()
    placed: list[Any] = []
    for text in axes.texts:
        box = text.get_window_extent()
        step = -_LINE if box.y0 > (frame.y0 + frame.y1) / 2 else _LINE
        for _ in axes.texts:
            if not any(box.overlaps(other) for other in placed):
                break
            x, y = text.get_position()
            text.set_position((x, y + step))
            box = text.get_window_extent()
        placed.append(box)


def _draw_curve(axes: Any, report: AdaptationReport) -> None:
    shots = [point.shots for point in report.curve]
    axes.errorbar(
        shots,
        [100 * point.accuracy for point in report.curve],
        [100 * point.spread for point in report.curve],
        fmt="o-",
        color="tab:orange",
        capsize=3,
    )
    axes.set_xscale("log", base=2)
    axes.set_xticks(shots, [str(number) for number in shots])
    axes.margins(y=_ROOM_FOR_NAMES)  # the two share their y axis
    axes.set(xlabel=f"images a class ({report.curve_rung})")
    axes.grid(alpha=0.3)
