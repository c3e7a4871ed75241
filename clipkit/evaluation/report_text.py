"""The report of an evaluation as tables for a person."""

from clipkit.evaluation.report import EvaluationReport

_MOST = 10  # rows of a table that may be long; more are in the JSON
_WIDEST = 60  # characters of a cell
Table = list[list[str]]


def report_tables(report: EvaluationReport) -> list[tuple[str, Table]]:
    """Return a report as tables, each with a heading and a first row that names its columns.

    Args:
        report: Of an evaluation.

    Returns:
        Heading and rows of cells; no table is without rows.
    """
    tables = [
        (
            f"{report.model} on {report.data}: {report.task} of {report.num_images:,} images",
            _metrics(report),
        ),
        ("templates, against the bare class name", _templates(report)),
        (_heading("classes, least found first", len(report.classes)), _classes(report)),
        ("most frequent confusions", _confusions(report)),
        ("confidence against accuracy", _reliability(report)),
        ("accuracy if only the surest are answered", _selective(report)),
        ("calibrated, measured on images that it was not fitted on", _calibrated(report)),
        ("sets of labels, measured likewise", _label_sets(report)),
        (_heading("queries, worst first", len(report.queries)), _queries(report)),
        (_heading("test images in the training data", len(report.near_duplicates)), _leaks(report)),
    ]
    return [
        (heading, [list(map(_short, row)) for row in rows])
        for heading, rows in tables
        if len(rows) > 1
    ]


def _short(cell: str) -> str:
    """Return a cell that leaves room for the others: a query may be a page of text."""
    return cell if len(cell) <= _WIDEST else f"{cell[: _WIDEST - 1]}…"


def _heading(text: str, total: int) -> str:
    """Return a heading that says if its table is not all of it."""
    return text if total <= _MOST else f"{text} ({_MOST} of {total:,}, with --json more)"


def _metrics(report: EvaluationReport) -> Table:
    rows = [["metric", "value", "95 % interval"]]
    for name, value in report.metrics.items():
        found = report.intervals.get(name)
        shown = "" if found is None else f"{found.low:.3f} to {found.high:.3f}"
        rows.append([name, f"{value:.4f}", shown])
    return rows


def _templates(report: EvaluationReport) -> Table:
    rows = [["templates", "acc1", "lift", "95 % interval", "gained", "lost"]]
    for entry in report.templates:
        low, high = f"{entry.lift.low:+.3f}", f"{entry.lift.high:+.3f}"
        rows.append(
            [
                entry.templates,
                f"{entry.acc1:.4f}",
                f"{entry.lift.mean:+.4f}",
                f"{low} to {high}",
                str(entry.gained),
                str(entry.lost),
            ]
        )
    return rows


def _classes(report: EvaluationReport) -> Table:
    rows = [["class", "images", "recall", "precision", "mostly taken for"]]
    for entry in sorted(report.classes, key=lambda found: (found.recall, found.name))[:_MOST]:
        precision = "-" if entry.precision is None else f"{entry.precision:.3f}"
        rows.append(
            [
                entry.name,
                str(entry.count),
                f"{entry.recall:.3f}",
                precision,
                entry.top_confusion or "-",
            ]
        )
    return rows


def _confusions(report: EvaluationReport) -> Table:
    rows = [["class", "taken for", "images", "share"]]
    for entry in report.confusions[:_MOST]:
        rows.append([entry.name, entry.taken_for, str(entry.count), f"{entry.share:.3f}"])
    return rows


def _reliability(report: EvaluationReport) -> Table:
    rows = [["confidence", "images", "mean confidence", "accuracy"]]
    for entry in report.reliability:
        rows.append(
            [
                f"{entry.low:.2f} to {entry.high:.2f}",
                str(entry.count),
                f"{entry.confidence:.3f}",
                f"{entry.accuracy:.3f}",
            ]
        )
    return rows


def _selective(report: EvaluationReport) -> Table:
    rows = [["answered", "accuracy"]]
    return rows + [[f"{at.coverage:.0%}", f"{at.accuracy:.4f}"] for at in report.selective]


def _calibrated(report: EvaluationReport) -> Table:
    rows = [["metric", "before", "after"]]
    if report.calibrated is not None:
        for name, before in report.calibrated.before.items():
            rows.append([name, f"{before:.4f}", f"{report.calibrated.after[name]:.4f}"])
    return rows


def _label_sets(report: EvaluationReport) -> Table:
    rows = [["asked", "hold the right label", "95 % interval", "labels a set", "of one label"]]
    for entry in report.calibrated.label_sets if report.calibrated else ():
        rows.append(
            [
                f"{entry.coverage:.0%}",
                f"{entry.held.mean:.4f}",
                f"{entry.held.low:.3f} to {entry.held.high:.3f}",
                f"{entry.mean_size:.2f}",
                f"{entry.single:.0%}",
            ]
        )
    return rows


def _queries(report: EvaluationReport) -> Table:
    rows = [["query", "relevant", "first at", "average precision"]]
    for entry in report.queries[:_MOST]:
        rows.append(
            [
                entry.query,
                str(entry.relevant),
                str(entry.first_rank),
                f"{entry.average_precision:.3f}",
            ]
        )
    return rows


def _leaks(report: EvaluationReport) -> Table:
    rows = [["test image", "training image", "cosine"]]
    for entry in report.near_duplicates[:_MOST]:
        rows.append([entry.test, entry.train, f"{entry.cosine:.3f}"])
    return rows
