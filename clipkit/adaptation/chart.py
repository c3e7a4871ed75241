"""A chart of the ladder: accuracy against cost, and against the number of labels."""

import io
import warnings
from typing import Any

from clipkit.adaptation.report import AdaptationReport
from clipkit.errors import InputError, MissingExtraError

SOFTWARE = "clipkit adapt"  # in the file, so that it is known again
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
    from matplotlib.figure import Figure

    has_curve = len(report.curve) > 1
    figure = Figure(figsize=(10 if has_curve else 6, 4.5), layout="constrained")
    axes = figure.subplots(1, 2 if has_curve else 1, sharey=True, squeeze=False)[0]
    _draw_cost(axes[0], report)
    if has_curve:
        _draw_curve(axes[1], report)
    name = report.data if len(report.data) <= 50 else f"…{report.data[-49:]}"
    figure.suptitle(f"{name}: adapting {report.model}", parse_math=False)
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # of other scripts: boxes are drawn
        figure.savefig(content, format="png", dpi=120, metadata={"Software": SOFTWARE})
    return content.getvalue()


def _draw_cost(axes: Any, report: AdaptationReport) -> None:
    for rung in [*report.rungs, *([report.baseline] if report.baseline else [])]:
        if rung.accuracy is None or rung.seconds is None:
            continue
        is_chosen = rung.name == report.recommended
        axes.errorbar(
            max(rung.seconds, _FASTEST),
            100 * rung.accuracy,
            100 * (rung.spread or 0.0),
            fmt="o" if rung.step is not None else "s",
            color="tab:orange" if is_chosen else "tab:blue" if rung.step is not None else "grey",
            capsize=3,
            label=rung.title,
        )
        axes.annotate(
            rung.name,
            (max(rung.seconds, _FASTEST), 100 * rung.accuracy),
            textcoords="offset points",
            xytext=(6, 5),
            fontsize=8,
            fontweight="bold" if is_chosen else "normal",
        )
    axes.set(xscale="log", xlabel="seconds to fit, without embedding", ylabel="accuracy, %")
    axes.grid(alpha=0.3)


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
    axes.set(xlabel=f"images a class ({report.curve_rung})")
    axes.grid(alpha=0.3)
