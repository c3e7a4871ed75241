"""The tables of a ladder's report: how figures are written."""

import pytest

from clipkit.adaptation.report import AdaptationReport, CurvePoint, RungReport
from clipkit.adaptation.report_text import report_tables


def report_of(
    *rungs: RungReport,
    baseline: RungReport | None = None,
    curve: tuple[CurvePoint, ...] = (),
) -> AdaptationReport:
    """Return a report of some rungs."""
    return AdaptationReport(
        model="starter",
        data="pets",
        space_id="space",
        num_images=12,
        num_classes=2,
        num_test_images=4,
        seeds=(0, 1),
        retention_images=0,
        max_forgetting=0.02,
        rungs=rungs,
        baseline=baseline,
        recommended=rungs[0].name,
        recommendation="take it",
        curve=curve,
        curve_rung=rungs[0].name,
    )


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (120.0, "120"),
        (99.6, "100"),
        (1234.5, "1,234"),
        (12.3, "12"),
        (9.96, "10"),
        (1.24, "1.2"),
        (0.0012, "0.0012"),
        (0.0004, "<0.001"),
        (0.0, "<0.001"),
    ],
)
def test_seconds_are_never_powers_of_ten(seconds: float, written: str) -> None:
    rung = RungReport(0, "prompt", "one prompt", accuracy=0.5, seconds=seconds, num_bytes=0)
    (_, (header, row)), *_ = report_tables(report_of(rung))
    assert row[header.index("seconds")] == written
