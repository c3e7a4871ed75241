"""The report as text and Markdown, with names that would be markup."""

import dataclasses
import re

import pytest

import clipkit
from clipkit import AuditOptions, AuditReport
from clipkit.errors import ImageReadError
from clipkit.evaluation.audit.report import DebiasResult
from clipkit.evaluation.audit.report_page import report_page
from clipkit.evaluation.audit.report_text import MARK, report_markdown, report_sections
from tests.evaluation.audit.conftest import Table
from tests.fakes import FakeEncoder

NASTY = "<b>|*$x$ &amp; `"


@pytest.fixture
def report(table: Table) -> AuditReport:
    """An audit with everything in it, and names that are markup."""
    colors = ["red", "green", "blue"] * 40
    groups = [NASTY if number % 3 == 0 else "y" for number in range(120)]
    path = table(colors, thing=[f"{color} man" for color in colors], side=groups)
    options = AuditOptions(
        ("side",), label_column="thing", templates="none", queries=("red man",), debias=True
    )
    return clipkit.audit(FakeEncoder(), str(path), options)


def test_a_report_has_a_section_for_everything(report: AuditReport) -> None:
    headings = [section.heading for section in report_sections(report)]
    assert headings == [
        "Findings",
        "side: groups",
        "side: zero-shot accuracy",
        "side: equalised odds",
        "side: who is found",
        "side: association with concepts",
        "side: debiased texts",
        "Words swapped",
        "Prompts",
        "What this audit cannot know",
    ]
    for section in report_sections(report):
        assert section.rows is None or len({len(row) for row in section.rows}) == 1


def test_a_report_without_findings_says_so(report: AuditReport) -> None:
    none = dataclasses.replace(report, findings=())
    assert (
        report_sections(none)[0].sentences[0] == "no difference between groups is more than chance"
    )
    many = dataclasses.replace(report, findings=report.findings[:1] * 30)
    assert "and 10 more (--json has all)" in report_sections(many)[0].sentences


def test_a_file_tells_what_the_command_said_beside_it(report: AuditReport) -> None:
    unread = (ImageReadError("/home/me/a.jpg", "is not an image"),) * 3
    found = dataclasses.replace(report, warnings=("images without x: 7",), skipped=unread)
    for pieces in (report_markdown(found), report_page(found)):
        text = "".join(pieces)
        assert "images without x: 7" in text
        assert "images that could not be read: 3" in text
        assert "/home/me" not in text
    quiet = dataclasses.replace(report, warnings=())
    assert "To know of the data" not in "".join(report_markdown(quiet))


def test_debiasing_without_directions_is_told_without_a_table(report: AuditReport) -> None:
    nothing = DebiasResult("images of the groups", 0, (), None, (1, 1), "nothing was taken out")
    columns = (dataclasses.replace(report.columns[0], debiased=nothing),)
    sections = report_sections(dataclasses.replace(report, columns=columns))
    (section,) = [one for one in sections if one.heading == "side: debiased texts"]
    assert (section.sentences, section.rows) == (("nothing was taken out",), None)


def test_markdown_escapes_names(report: AuditReport) -> None:
    text = "".join(report_markdown(report))
    assert MARK in text.splitlines()[0]
    body = text.split("\n", 1)[1]
    assert "\\<b\\>\\|\\*$x$ \\&amp; \\`" in body
    assert "\\<b\\>\\|\\*$x$ \\&amp; \\` | 40 |" in body  # a cell of a table
    assert not re.search(r"(?<!\\)[<*`]", body)
    for table in body.split("\n\n"):
        bars = [
            line.replace("\\|", "").count("|") for line in table.splitlines() if line[:1] == "|"
        ]
        assert len(set(bars)) <= 1
