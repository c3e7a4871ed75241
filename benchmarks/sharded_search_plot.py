"""The figures of sharded_search.py as a plot: what has to be compared, asked and kept for a recall.

A row of panels for each set of embeddings: recall against the share of the rows that is compared,
against the number of shards, and against how many codes are compared exactly.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

COLORS = {"texts": "#d62728", "texts, moved": "#ff9d3c", "images": "#1f77b4"}
STYLES = {
    "one bit": "-",
    "products, 64": "--",
    "products, 32": ":",
}  # others are at 1 from the start


def draw(results: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Write the plot as SVG; equal results make equal files."""
    with mpl.rc_context({"svg.hashsalt": "clipkit", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(11, 3.6 * len(results)), layout="constrained")
        for row, (name, found) in zip(
            figure.subplots(len(results), 3, squeeze=False), results.items(), strict=True
        ):
            _draw_probes(row[0], name, found)
            _draw_shards(row[1], found)
            _draw_codes(row[2], found)
        figure.savefig(path, metadata={"Creator": "clipkit", "Date": None})


def _draw_probes(axes: Axes, name: str, found: Mapping[str, Any]) -> None:
    """Draw recall over what is compared, thin for fewer rows."""
    growth = list(found["growth"].items())
    for place, (number, kinds) in enumerate(growth):
        for kind, color in COLORS.items():
            recall = kinds[kind]["recall"]
            is_whole = place == len(growth) - 1
            axes.plot(
                [100 * float(share) for share in recall],
                list(recall.values()),
                color=color,
                linewidth=0.6 + place * 0.7,
                marker="." if is_whole else "",
                label=f"{kind}, {int(number):,} rows" if is_whole else None,
            )
    axes.set(xscale="log", xlabel="% of the rows compared", ylabel="recall@50", title=name)
    _finish(axes)


def _draw_shards(axes: Axes, found: Mapping[str, Any]) -> None:
    """Draw what has to be compared for .95, by the number of shards, in both ways of sharding."""
    whole = list(found["growth"].values())[-1]
    own = {"1": whole, **found["shards"]}
    for kind in ("texts", "images"):
        for shards, style, told in ((own, "-", "by chance"), (found["routed"], "--", "by cells")):
            axes.plot(
                [int(number) for number in shards],
                [100 * each[kind]["share_for"]["0.95"] for each in shards.values()],
                color=COLORS[kind],
                linestyle=style,
                marker=".",
                label=f"{kind}, {told}",
            )
    axes.set(xscale="log", yscale="log", xlabel="shards", ylabel="% compared for recall .95")
    axes.set_title("shards by chance, or by cells")
    _finish(axes)


def _draw_codes(axes: Axes, found: Mapping[str, Any]) -> None:
    """Draw recall over how many of the best codes are compared exactly."""
    for name, kinds in found["codes"].items():
        for kind in ("texts", "images"):
            axes.plot(
                [int(kept) for kept in kinds[kind]],
                list(kinds[kind].values()),
                color=COLORS[kind],
                linestyle=STYLES.get(name, "-."),
                linewidth=1.4 if name in STYLES else 0.7,
                label=f"{name} ({kinds['bytes']} bytes)" if kind == "texts" else None,
            )
    axes.set(xscale="log", xlabel="codes compared exactly", ylabel="recall@50")
    axes.set_title("codes; texts red, images blue")
    _finish(axes)


def _finish(axes: Axes) -> None:
    axes.grid(color="#ddd", linewidth=0.5)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    axes.legend(fontsize=6.5, framealpha=0.7)
