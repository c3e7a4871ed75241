"""Learning curves that are carried on: power laws exactly, and what shows no trend."""

import pytest

from clipkit.adaptation.extrapolation import expected_accuracy
from clipkit.adaptation.report import CurvePoint


def curve(*errors: float) -> list[CurvePoint]:
    return [
        CurvePoint(2**place, 10 * 2**place, 1 - error, 0.0) for place, error in enumerate(errors)
    ]


def test_a_power_law_goes_on() -> None:
    # The errors fall to .8 of what they were with each doubling.
    found = expected_accuracy(curve(0.5, 0.4, 0.32), 80)
    assert found == pytest.approx(1 - 0.256)
    assert expected_accuracy(curve(0.9, 0.5, 0.4, 0.32), 160) == pytest.approx(1 - 0.256)


def test_a_curve_that_falls_or_is_at_its_end_stays_where_it_is() -> None:
    assert expected_accuracy(curve(0.3, 0.35, 0.4), 80) == pytest.approx(0.6)
    assert expected_accuracy(curve(0.1, 0.0, 0.0), 80) == pytest.approx(1, abs=1e-3)


def test_two_points_are_no_trend() -> None:
    assert expected_accuracy(curve(0.5, 0.4), 40) is None
