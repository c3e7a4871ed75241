"""A comparison of models as tables and sentences for a person."""

from clipkit.evaluation.comparison import ComparedModel, ComparisonReport, MetricDifference
from clipkit.plain_text import rounded

Table = list[list[str]]


def comparison_tables(report: ComparisonReport) -> list[tuple[str, Table]]:
    """Return a comparison as tables, each with a heading and a first row that names its columns.

    Args:
        report: Of two models or more.

    Returns:
        Heading and rows of cells: metrics, differences a model, size and speed.
    """
    first, *others = report.models
    tables = [(f"{report.task} of {_images(report)}", _metrics(report))]
    for model in others:
        found = [entry for entry in report.differences if entry.model == model.label]
        tables.append((f"{model.label} against {first.label}", _differences(found)))
    tables.append(("size and speed on this machine", _costs(report)))
    return tables


def verdict_lines(report: ComparisonReport) -> list[str]:
    """Return a sentence a model and deciding metric: better, worse or noise, and what it costs."""
    first, *others = report.models
    unit = "queries" if report.task == "search" else "images"
    lines = []
    for model in others:
        for found in report.differences:
            if found.model == model.label and found.is_deciding:
                lines.append(_verdict(found, first.label, unit))
        lines.append(_cost(model, first))
    return lines


def _verdict(found: MetricDifference, first: str, unit: str) -> str:
    span = f"95 %: {_points(found.difference.low)} to {_points(found.difference.high)}"
    count = f"{found.difference.count:,} {unit}"
    if found.is_noise:
        return (
            f"{found.model} against {first}, {found.metric}: {_points(found.difference.mean)} "
            f"points is noise on {count} (p = {found.probability:.2g}; {span}): these data do not "
            "say which is better"
        )
    better = "better" if found.is_better else "worse"
    return (
        f"{found.model} is {better} than {first}, {found.metric}: "
        f"{_points(found.difference.mean)} points on {count} (p = {found.probability:.2g}; {span})"
    )


def _cost(model: ComparedModel, first: ComparedModel) -> str:
    room = rounded(model.embed_dim / first.embed_dim)
    return (
        f"an image takes {model.label} {rounded(model.speed.times_as_long)} times as long as "
        f"{first.label}, and its embedding {room} times the room"
    )


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def _are_same_images(report: ComparisonReport) -> bool:
    return all(model.num_images == report.num_images for model in report.models)


def _images(report: ComparisonReport) -> str:
    if _are_same_images(report):
        return f"{report.num_images:,} images of {report.data}"
    return f"the images of {report.data} that each model could read"


def _metrics(report: ComparisonReport) -> Table:
    rows = [["metric", *(model.label for model in report.models)]]
    if not _are_same_images(report):
        rows.append(["images", *(f"{model.num_images:,}" for model in report.models)])
    names = dict.fromkeys(name for model in report.models for name in model.metrics)
    for name in names:
        values = [model.metrics.get(name) for model in report.models]
        rows.append([name, *("-" if value is None else f"{value:.4f}" for value in values)])
    return rows


def _differences(found: list[MetricDifference]) -> Table:
    rows = [["metric", "difference", "95 % interval", "p", ""]]
    for entry in found:
        verdict = "better" if entry.is_better else "worse"
        if not entry.is_deciding:
            verdict = ""
        elif entry.is_noise:
            verdict = "noise"
        rows.append(
            [
                entry.metric,
                f"{entry.difference.mean:+.4f}",
                f"{entry.difference.low:+.4f} to {entry.difference.high:+.4f}",
                f"{entry.probability:.2g}",
                verdict,
            ]
        )
    return rows


def _costs(report: ComparisonReport) -> Table:
    rows = [
        ["model", "engine", "precision", "million weights", "dimensions", "images/s", "time/image"]
    ]
    for model in report.models:
        weights = "-" if model.parameters is None else f"{model.parameters / 1e6:,.0f}"
        rows.append(
            [
                model.label,
                f"{model.engine} on {model.device}",
                model.precision,
                weights,
                str(model.embed_dim),
                rounded(model.speed.images_per_second, 3),
                f"{model.speed.times_as_long:.2f} x",
            ]
        )
    return rows
