"""Plots of an audit, as SVG to put into a page."""

import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from clipkit.evaluation.audit.findings import ALPHA, strongest_associations
from clipkit.evaluation.audit.report import ColumnAudit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_GROUPS, _MOST_QUERIES, _MOST_CONCEPTS = 12, 6, 40
_WIDTH = 6.0  # inches; a page scales it


def column_plots(column: ColumnAudit) -> list[tuple[str, str]]:
    """Return the plots of what was measured of a column.

    Args:
        column: The figures.

    Returns:
        What each shows, and its SVG element.
    """
    import matplotlib as mpl

    # Text stays text, so that it can be read aloud and copied, and a "$" is a dollar.
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "text.parse_math": False,
        "svg.hashsalt": column.column,
    }
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # letters that the font here lacks
        plots = [_accuracies(column), _skew_curves(column), _association_map(column)]
        return [(what, _svg(figure)) for what, figure in plots if figure is not None]


def _svg(figure: "Figure") -> str:
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    return text[text.index("<svg") :]


def _figure(height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(_WIDTH, height), layout="constrained")


def _accuracies(column: ColumnAudit) -> tuple[str, "Figure | None"]:
    what = "accuracy by group, with 95 % intervals"
    if column.classification is None:
        return what, None
    groups = sorted(column.classification.groups, key=lambda one: -one.accuracy.mean)
    half = _MOST_GROUPS // 2
    if len(groups) > _MOST_GROUPS:  # the best and the worst
        groups = [*groups[:half], *groups[-half:]]
    figure = _figure(1.0 + 0.35 * len(groups))
    axes = figure.subplots()
    means = np.array([one.accuracy.mean for one in groups])
    ends = np.array([[one.accuracy.low, one.accuracy.high] for one in groups]).T
    axes.errorbar(means, range(len(groups)), xerr=np.abs(ends - means), fmt="o", capsize=3)
    names = [f"{one.name} (n {one.accuracy.count:,})" for one in groups]
    axes.set_yticks(range(len(groups)), names)
    axes.invert_yaxis()
    axes.set(xlabel="top-1 accuracy")
    axes.grid(axis="x", alpha=0.3)
    return what, figure


def _skew_curves(column: ColumnAudit) -> tuple[str, "Figure | None"]:
    what = "skew of each group among the first k images, with 95 % intervals; the surest queries"
    if not column.queries:
        return what, None
    queries = sorted(column.queries, key=lambda one: one.p)[:_MOST_QUERIES]
    figure = _figure(2.6 * len(queries))
    shown = [name for name, _ in queries[0].at[0].groups][:_MOST_GROUPS]
    for axes, query in zip(np.ravel(figure.subplots(len(queries))), queries, strict=True):
        ks = np.array([at.k for at in query.at])
        for place, name in enumerate(shown):
            skews = [dict(at.groups)[name] for at in query.at]
            means = np.array([skew.mean for skew in skews])
            ends = np.array([[skew.low, skew.high] for skew in skews]).T
            axes.errorbar(
                ks * 1.03**place, means, np.abs(ends - means), marker="o", capsize=2, label=name
            )
        axes.axhline(0, color="grey", linewidth=1)
        axes.set(xscale="log", title=f"{query.query} (p {query.p:.2g})", ylabel="skew")
        axes.set_xticks(ks, [str(k) for k in ks])
        axes.minorticks_off()
        axes.legend(fontsize="small")
    axes.set(xlabel="k")
    return what, figure


def _association_map(column: ColumnAudit) -> tuple[str, "Figure | None"]:
    what = "association of concepts (d) with groups; * where it is more than chance"
    if not column.associations:
        return what, None
    of = {(one.concept, one.group): one for one in column.associations}
    concepts = [one.concept for one in strongest_associations(column)[:_MOST_CONCEPTS]]
    groups = list(dict.fromkeys(group for _, group in of))[:_MOST_GROUPS]
    values = np.array([[of[one, group].effect.mean for group in groups] for one in concepts])
    figure = _figure(1.5 + 0.25 * len(concepts))
    axes = figure.subplots()
    most = max(float(np.abs(values).max()), 0.5)
    image = axes.imshow(values, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto")
    for row, concept in enumerate(concepts):
        for place, group in enumerate(groups):
            one = of[concept, group]
            star = "*" if one.p <= ALPHA else ""
            strong = abs(one.effect.mean) > 0.7 * most
            axes.text(
                place,
                row,
                f"{one.effect.mean:+.2f}{star}",
                ha="center",
                va="center",
                fontsize=7,
                color="white" if strong else "black",
            )
    axes.set_xticks(range(len(groups)), groups, rotation=30, ha="right")
    axes.set_yticks(range(len(concepts)), concepts)
    figure.colorbar(image, label="d")
    return what, figure
