"""The report of an audit as one HTML page that needs no other file."""

from collections.abc import Iterator
from html import escape

from clipkit.errors import MissingExtraError
from clipkit.evaluation.audit.report import AuditReport
from clipkit.evaluation.audit.report_text import MARK, Section, file_sections, report_title

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { border-bottom: 1px solid #8884; padding: .25rem .6rem; text-align: left;
  white-space: nowrap; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 1rem 0; background: white; color: black; }
figure svg { height: auto; max-width: 100%; }
figcaption { font-size: .85rem; padding: 0 .5rem; }
@media (prefers-color-scheme: dark) { body { background: #111; color: #ddd; } }
"""


def check_plots() -> None:
    """Raise unless plots can be drawn, before any work.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("evaluate", "A page with plots") from error


def audit_page(report: AuditReport) -> str:
    """Return a report as one HTML page, which loads nothing and runs nothing.

    Args:
        report: Of :func:`clipkit.audit`.

    Returns:
        The page.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    check_plots()
    return "".join(report_page(report))


def report_page(report: AuditReport) -> Iterator[str]:
    """Yield a report as an HTML page, piece by piece; it loads nothing and runs nothing.

    Args:
        report: Of an audit.

    Yields:
        Text.
    """
    # Imported here: matplotlib takes a while, and only a page has plots.
    from clipkit.evaluation.audit.plots import column_plots

    title = escape(report_title(report))
    yield (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="generator" content="{MARK}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    )
    columns = {column.column: column for column in report.columns}
    for section in file_sections(report):
        yield _section(section)
        for what, svg in column_plots(columns[section.column]) if section.column else ():
            yield f"<figure>{svg}<figcaption>{escape(what)}</figcaption></figure>\n"
    yield "</body>\n</html>\n"


def _section(section: Section) -> str:
    text = f"<h2>{escape(section.heading)}</h2>\n"
    if section.sentences:
        items = "".join(f"<li>{escape(sentence)}</li>\n" for sentence in section.sentences)
        text += f"<ul>\n{items}</ul>\n"
    if section.rows and len(section.rows) > 1:
        head = "".join(f"<th>{escape(cell)}</th>" for cell in section.rows[0])
        rows = "".join(f"<tr>{_cells(row, section.num_text)}</tr>\n" for row in section.rows[1:])
        text += f'<div class="scroll"><table>\n<tr>{head}</tr>\n{rows}</table></div>\n'
    return text


def _cells(row: list[str], num_text: int) -> str:
    texts = "".join(f"<td>{escape(cell)}</td>" for cell in row[:num_text])
    numbers = "".join(f'<td class="number">{escape(cell)}</td>' for cell in row[num_text:])
    return texts + numbers
