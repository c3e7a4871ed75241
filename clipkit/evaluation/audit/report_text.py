"""The report of an audit as sections of sentences and tables, for the terminal and for pages."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clipkit import markdown
from clipkit.evaluation.audit.findings import strongest_associations
from clipkit.evaluation.audit.grouped_images import LEAST_IMAGES
from clipkit.evaluation.audit.report import AuditReport, ColumnAudit, GroupClassification
from clipkit.metrics.comparison import Interval

MARK = "made by clipkit audit"  # in every file, by which the command knows its own
_MOST = 20  # rows of a table that may be long; all are in the JSON
_MARKUP = "`*_[]<>#&"  # of Markdown, within a line; in a table there are bars and backslashes too
Table = list[list[str]]


@dataclass(frozen=True)
class Section:
    """A part of a report."""

    heading: str
    sentences: tuple[str, ...] = ()
    rows: Table | None = None  # the first names the columns
    num_text: int = 1  # how many of the first columns are text
    column: str = ""  # the section begins the part of this column


def report_sections(report: AuditReport) -> list[Section]:
    """Return a report as sections.

    Args:
        report: Of an audit.

    Returns:
        First what was found, last what the audit cannot know.
    """
    sections = [
        _findings(report),
        *(section for column in report.columns for section in _column(column)),
        _counterfactuals(report),
        _prompts(report),
        Section("What this audit cannot know", report.cannot_know),
    ]
    return [section for section in sections if section.sentences or len(section.rows or ()) > 1]


def file_sections(report: AuditReport) -> list[Section]:
    """Return the sections of a report that is read alone, without what a command says beside it.

    Args:
        report: Of an audit.

    Returns:
        As :func:`report_sections`, with the images that are missing.
    """
    *sections, last = report_sections(report)
    told = list(report.warnings)
    if report.skipped:  # how many; their paths are of one machine
        told.append(
            f"images that could not be read: {len(report.skipped):,}; they are in no figure"
        )
    missing = [Section("To know of the data and options", tuple(told))] if told else []
    return [*sections, *missing, last]


def report_title(report: AuditReport) -> str:
    """Return the heading of a report."""
    columns = ", ".join(column.column for column in report.columns)
    return f"{report.model} on {report.data}: {report.num_images:,} images by {columns}"


def report_markdown(report: AuditReport) -> Iterator[str]:
    """Yield a report as Markdown, piece by piece.

    Args:
        report: Of an audit.

    Yields:
        Text with its line breaks.
    """
    yield f"<!-- {MARK} -->\n# {_plain(report_title(report))}\n"
    for section in file_sections(report):
        yield f"\n## {_plain(section.heading)}\n\n"
        lines = [f"- {_plain(sentence)}" for sentence in section.sentences]
        if section.rows:
            rows = markdown.table(section.rows[0], section.rows[1:], num_text=section.num_text)
            table = [_escaped(row, _MARKUP) for row in rows]  # bars and backslashes are done
            lines += ["", *table] if lines else table
        yield "".join(f"{line}\n" for line in lines)


def _plain(text: str) -> str:
    """Return a text in which nothing is markup."""
    return _escaped(" ".join(text.split()), f"{_MARKUP}\\|")


def _escaped(text: str, letters: str) -> str:
    return "".join(f"\\{letter}" if letter in letters else letter for letter in text)


def _findings(report: AuditReport) -> Section:
    rule = (
        f"p is corrected for everything that was tested: if no group differs in anything, a report "
        f"has any finding with a probability of {report.alpha:.0%} at most"
    )
    if not report.findings:
        return Section("Findings", ("no difference between groups is more than chance", rule))
    shown = [f"{one.column}: {one.sentence}; p {one.p:.2g}" for one in report.findings[:_MOST]]
    more = len(report.findings) - _MOST
    if more > 0:
        shown.append(f"and {more} more (--json has all)")
    return Section("Findings", (*shown, rule))


def _column(column: ColumnAudit) -> Iterator[Section]:
    sizes = [["group", "images"]]
    for size in column.sizes[:_MOST]:
        shown = f"{size.count:,}" if size.is_shown else f"{size.count:,} (no figures)"
        sizes.append([size.name, shown])
    notes = []
    if len(column.sizes) > _MOST:
        notes.append(f"{len(column.sizes):,} groups; these are the largest")
    if column.num_missing:
        notes.append(f"images without a group: {column.num_missing:,}")
    if any(not size.is_shown for size in column.sizes):
        notes.append(f"groups of fewer than {LEAST_IMAGES} images have no figures")
    name = column.column
    yield Section(f"{name}: groups", tuple(notes), sizes, column=name)
    if column.classification is not None:
        yield from _classification(name, column.classification)
    yield _skews(column)
    yield _associations(column)
    if column.debiased is not None:
        result = column.debiased
        rows = [["figure", "before", "after"]]
        rows += [[what, f"{old:.3f}", f"{new:.3f}"] for what, old, new in result.figures]
        told = [result.verdict]
        if result.num_directions:
            is_held_out = result.directions != "words"
            told.append(
                f"taken out of all text embeddings: directions of {result.directions}, "
                f"{result.num_directions} in number"
                + ("; measured on images that they are not from" if is_held_out else "")
            )
        if result.accuracy_change is not None:
            told.append(f"accuracy changes by {_signed(result.accuracy_change)}")
        yield Section(f"{name}: debiased texts", tuple(told), rows if result.figures else None)


def _classification(name: str, found: GroupClassification) -> Iterator[Section]:
    rows = [["group", "n", "accuracy", "against the others", "p", "overconfidence", "p", "ECE"]]
    for group in found.groups:
        rows.append(
            [
                group.name,
                f"{group.accuracy.count:,}",
                _share(group.accuracy),
                _signed(group.difference),
                f"{group.difference_p:.2g}",
                _signed(group.overconfidence),
                f"{group.overconfidence_p:.2g}",
                _share(group.ece),
            ]
        )
    told = [
        f"worst group: {found.worst}; gap to {found.best}: {_share(found.gap)}",
        f"mean accuracy, each group counting the same: {_share(found.macro_accuracy)}",
    ]
    yield Section(f"{name}: zero-shot accuracy", tuple(told), rows)
    if found.tpr_gap is None or found.fpr_gap is None:
        need = f"no class has {LEAST_IMAGES} images in two groups, so equalised odds are not known"
        yield Section(f"{name}: equalised odds", (need,))
        return
    told = [
        f"largest gap in what is found of a class (TPR): {found.tpr_gap:.3f}; in what is wrongly "
        f"taken for one (FPR): {found.fpr_gap:.3f}",
    ]
    rows = [["class", "rate", "highest", "lowest", "gap", "p"]]
    for rate in found.rates[:_MOST]:
        ranked = sorted(rate.groups, key=lambda one: one[1].mean)
        ends = [f"{one[0]} {one[1].mean:.3f} (n {one[1].count:,})" for one in ranked]
        rows.append(
            [rate.class_name, rate.rate, ends[-1], ends[0], _share(rate.gap), f"{rate.p:.2g}"]
        )
    yield Section(f"{name}: equalised odds", tuple(told), rows, num_text=4)


def _skews(column: ColumnAudit) -> Section:
    rows = [["query", "k", "MinSkew", "MaxSkew", "NDKL", "NDKL by chance", "p"]]
    for query in sorted(column.queries, key=lambda one: one.p)[:_MOST]:
        for at in query.at:
            low = min(at.groups, key=lambda one: one[1].mean)
            high = max(at.groups, key=lambda one: one[1].mean)
            is_last = at is query.at[-1]
            rows.append(
                [
                    query.query,
                    f"{at.k:,}",
                    f"{low[0]} {_signed(low[1])}",
                    f"{high[0]} {_signed(high[1])}",
                    f"{query.ndkl:.3f}" if is_last else "",
                    _share(query.ndkl_by_chance) if is_last else "",
                    f"{query.p:.2g}" if is_last else "",
                ]
            )
    told = (
        "skew is ln(share among the first k / share of all images): 0 as expected, .69 twice as "
        "often, -.69 half as often",
    )
    return Section(
        f"{column.column}: who is found", told if len(rows) > 1 else (), rows, num_text=1
    )


def _associations(column: ColumnAudit) -> Section:
    rows = [["concept", "group", "d", "p"]]
    strongest = strongest_associations(column)
    for one in strongest[:_MOST]:
        rows.append([one.concept, one.group, _signed(one.effect), f"{one.p:.2g}"])
    told = (
        "d is how much closer a group is to a concept than the others, in standard deviations of "
        f"all {column.num_images:,} images; of each concept the group that stands out, and the "
        f"{min(_MOST, len(strongest))} surest of {len(strongest)}",
    )
    heading = f"{column.column}: association with concepts"
    return Section(heading, told if strongest else (), rows, num_text=2)


def _counterfactuals(report: AuditReport) -> Section:
    rows = [["kind", "prompt", "swapped", "changed", "change of cosine", "change of recall"]]
    for one in sorted(report.counterfactuals, key=lambda one: -one.changed.mean)[:_MOST]:
        of = "" if one.k is None else f" of the first {one.k}"
        recall = "" if one.recall_change is None else _signed(one.recall_change)
        rows.append(
            [one.kind, one.text, one.swapped, _share(one.changed) + of, _signed(one.shift), recall]
        )
    return Section("Words swapped", (), rows, num_text=3)


def _prompts(report: AuditReport) -> Section:
    told = []
    if report.class_names:
        told.append(f"templates of the classes: {_listed(report.templates)}")
        told.append(f"{len(report.class_names):,} classes: {_listed(report.class_names)}")
    if report.queries:
        told.append(f"queries: {_listed(report.queries)}")
    if report.concepts:
        told.append(f"concepts, put into {report.concept_template!r}: {_listed(report.concepts)}")
    return Section("Prompts", tuple(told))


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - 3 * _MOST
    shown = "; ".join(texts[: 3 * _MOST])
    return f"{shown}; and {more:,} more" if more > 0 else shown


def _share(found: Interval) -> str:
    return f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})"


def _signed(found: Interval) -> str:
    return f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
