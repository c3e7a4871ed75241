"""The HTML page: complete by itself, and safe whatever a group is called."""

from html.parser import HTMLParser

import pytest

from clipkit import AuditReport
from clipkit.evaluation.audit.plots import column_plots
from clipkit.evaluation.audit.report_page import report_page
from tests.evaluation.audit.test_report_text import NASTY, report  # noqa: F401

VOID = {"meta", "br", "input", "link", "img", "path", "use", "rect"}


class Page(HTMLParser):
    """Collects what a page is made of, and that every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def page(report: AuditReport) -> str:  # noqa: F811
    return "".join(report_page(report))


def test_a_page_needs_nothing_else_and_runs_nothing(page: str) -> None:
    parsed = Page()
    parsed.feed(page)
    assert parsed.open == []
    assert not parsed.tags & {"script", "img", "link", "iframe", "b", "image"} - {"image"}
    for name, value in parsed.attributes:
        assert not name.startswith("on")
        if name in ("href", "xlink:href", "src"):
            assert value is not None
            assert value.startswith(("#", "data:image/png;base64,"))
    assert "@import" not in page
    assert "<!DOCTYPE html>" in page
    assert page.count("<!DOCTYPE") == 1


def test_names_are_text_wherever_they_stand(report: AuditReport, page: str) -> None:  # noqa: F811
    parsed = Page()
    parsed.feed(page)
    assert NASTY in parsed.text
    assert page.count("<svg") == 3
    for _, svg in column_plots(report.columns[0]):
        plot = Page()
        plot.feed(svg)
        assert NASTY in plot.text


def test_plots_are_those_of_what_was_measured(report: AuditReport) -> None:  # noqa: F811
    import dataclasses

    (column,) = report.columns
    bare = dataclasses.replace(column, classification=None, associations=())
    ((what, svg),) = column_plots(bare)
    assert what.startswith("skew of each group")
    assert svg.startswith("<svg")
    assert column_plots(bare) == column_plots(bare)
