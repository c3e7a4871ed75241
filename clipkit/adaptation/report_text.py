"""A ladder's report for a person: tables, sentences and Markdown."""

from collections.abc import Iterator

from clipkit.adaptation.report import AdaptationReport, RungReport
from clipkit.markdown import table
from clipkit.plain_text import rounded

Table = list[list[str]]
MARK = "<!-- clipkit adapt -->"  # in the Markdown, so that it is known again

LIMITS = (
    "Figures are of images that look like these: of others, taken elsewhere or by others, they say "
    "nothing. Accuracy kept is that of the model by the names of other things; a head leaves the "
    "model as it is, but gives every image one of its own classes."
)


def report_tables(report: AdaptationReport) -> list[tuple[str, Table]]:
    """Return a report as tables, each with a heading and a first row that names its columns.

    Args:
        report: Of a ladder.

    Returns:
        Heading and rows of cells: the rungs, the learning curve, the classes that need labels.
    """
    rungs = [*report.rungs, *([report.baseline] if report.baseline else [])]
    has_kept = any(rung.kept is not None for rung in rungs)
    header = ["step", "rung", "accuracy", "±", "mean class", "worst class", "ECE", "calibrated"]
    header += [*(["kept"] if has_kept else []), "seconds", "kB"]
    tables = [
        (_heading(report), [header, *(_row(rung, report, has_kept=has_kept) for rung in rungs)])
    ]
    if report.curve:
        points = [
            [str(point.shots), str(point.num_images), _share(point.accuracy), _share(point.spread)]
            for point in report.curve
        ]
        columns = ["images a class", "images", "accuracy", "±"]
        tables.append((f"{_curve_rung(report)} with fewer images", [columns, *points]))
    if report.needs:
        needs = [[need.name, str(need.count), _share(need.accuracy)] for need in report.needs]
        heading = f"classes to label more of first, by {_curve_rung(report)}"
        tables.append((heading, [["class", "images of it", "accuracy"], *needs]))
    return tables


def report_sentences(report: AdaptationReport) -> Iterator[str]:
    """Yield what the tables come to: the recommendation, and what is worse than a lower rung."""
    yield report.recommendation
    for rung in report.rungs:
        if rung.is_worse and rung.gain is not None and rung.gain_error is not None:
            yield (
                f"{rung.title} is worse than {rung.gain_over}, which costs less: "
                f"{100 * rung.gain:+.1f} ± {100 * rung.gain_error:.1f} points."
            )
    for rung in report.rungs:
        if rung.forgot > report.max_forgetting:
            yield (
                f"{rung.title} is not recommended, as it forgets: the right names of other things "
                f"became {100 * rung.forgot:.1f} points less probable, and "
                f"{100 * report.max_forgetting:g} are allowed."
            )
    for rung in report.rungs:
        if rung.lack:
            yield f"{rung.title} was not measured: it {rung.lack}."


def report_markdown(report: AdaptationReport) -> Iterator[str]:
    """Yield a report in GitHub's Markdown, piece by piece.

    Args:
        report: Of a ladder.

    Yields:
        Pieces of text.
    """
    yield f"{MARK}\n# {' '.join(report.data.split())}: adapting {report.model}\n\n"
    for sentence in report_sentences(report):
        yield f"{sentence}\n\n"
    for number, (heading, rows) in enumerate(report_tables(report)):
        yield f"## {heading}\n\n"
        yield "\n".join(table(rows[0], rows[1:], num_text=2 if number == 0 else 1)) + "\n\n"
    for warning in report.warnings:
        yield f"- {warning}\n"
    if report.skipped:
        yield f"- {len(report.skipped)} images could not be read, the first: {report.skipped[0]}\n"
    yield f"\n{LIMITS}\n"


def _heading(report: AdaptationReport) -> str:
    splits = f"{len(report.seeds)} splits" if len(report.seeds) > 1 else "one split"
    return (
        f"{report.num_classes} classes, {report.num_images:,} images of which "
        f"{report.num_test_images:,} are measured on; mean of {splits}"
    )


def _row(rung: RungReport, report: AdaptationReport, *, has_kept: bool) -> list[str]:
    mark = " <-" if rung.name == report.recommended else ""
    step = "" if rung.step is None else str(rung.step)
    worst = "" if rung.worst_accuracy is None else f"{_share(rung.worst_accuracy)} "
    cells = [step, f"{rung.title}{mark}"]
    cells += [_share(share) for share in (rung.accuracy, rung.spread, rung.mean_per_class)]
    cells += [f"{worst}{rung.worst_class}", _share(rung.ece), _share(rung.ece_calibrated)]
    if has_kept:
        cells.append(_share(rung.kept))
    cells.append("" if rung.seconds is None else _seconds(rung.seconds))
    cells.append("" if rung.num_bytes is None else f"{rung.num_bytes / 1000:,.0f}")
    return cells


def _curve_rung(report: AdaptationReport) -> str:
    return next(rung.title for rung in report.rungs if rung.name == report.curve_rung)


def _seconds(seconds: float) -> str:
    return "<0.001" if seconds < 1e-3 else rounded(seconds)


def _share(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"
