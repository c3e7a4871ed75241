"""The chart of a ladder: what its points are called, and that the names stay inside."""

import io
from typing import Any

import pytest
from matplotlib.figure import Figure

from clipkit.adaptation.chart import draw_chart, make_figure
from clipkit.adaptation.pixel_baseline import BASELINE, BASELINE_TITLE
from clipkit.adaptation.report import AdaptationReport, CurvePoint, RungReport
from clipkit.adaptation.rung import HEAD_NAMES
from tests.adaptation.test_report_text import report_of

SECONDS = {"prompt": 0.0, "gda": 0.02, "adapter": 3.0, "probe": 40.0}


def made_report(*, has_curve: bool, baseline_seconds: float) -> AdaptationReport:
    rungs = [
        RungReport(step, name, f"the {name}", accuracy=0.5 + 0.1 * step, spread=0.0, seconds=took)
        for step, (name, took) in enumerate(SECONDS.items())
    ]
    baseline = RungReport(
        None, BASELINE, BASELINE_TITLE, accuracy=0.4, spread=0.0, seconds=baseline_seconds
    )
    curve = tuple(CurvePoint(shots, 2 * shots, 0.5, 0.01) for shots in (1, 2)) if has_curve else ()
    return report_of(*rungs, baseline=baseline, curve=curve)


def names_of(figure: Figure) -> dict[str, Any]:
    """Return the annotations of the first axes by what they say."""
    return {text.get_text(): text for text in figure.axes[0].texts}


@pytest.mark.parametrize("has_curve", [True, False])
@pytest.mark.parametrize("baseline_seconds", [0.0, 0.3, 5.0, 120.0])
def test_every_name_is_inside_the_axes(has_curve: bool, baseline_seconds: float) -> None:
    figure = make_figure(made_report(has_curve=has_curve, baseline_seconds=baseline_seconds))
    figure.savefig(io.BytesIO())  # lays it out as a file of it is
    frame = figure.axes[0].get_window_extent()
    names = names_of(figure)
    assert len(names) == len(SECONDS) + 1
    for name, text in names.items():
        box = text.get_window_extent()
        assert frame.x0 <= box.x0 <= box.x1 <= frame.x1, name
        assert frame.y0 <= box.y0 <= box.y1 <= frame.y1, name


@pytest.mark.parametrize("accuracy", [0.5, 1.0])
def test_names_of_points_that_coincide_are_apart(accuracy: float) -> None:
    rungs = [
        RungReport(3, name, f"the {name}", accuracy=share, spread=0.2, seconds=0.01)
        for name, share in zip(HEAD_NAMES, [0.1, *[accuracy] * 6], strict=True)
    ]
    figure = make_figure(report_of(*rungs))
    figure.savefig(io.BytesIO())
    frame = figure.axes[0].get_window_extent()
    boxes = [text.get_window_extent() for text in names_of(figure).values()]
    assert len(boxes) == len(HEAD_NAMES)
    for place, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:place])
        assert frame.y0 <= box.y0 <= box.y1 <= frame.y1


def test_the_small_model_has_its_title() -> None:
    report = made_report(has_curve=True, baseline_seconds=5.0)
    names = names_of(make_figure(report))
    assert BASELINE_TITLE in names
    assert BASELINE not in names
    assert draw_chart(report).startswith(b"\x89PNG")
