"""Figures of classification by group, against hand counts and other modules."""

import numpy as np
import pytest

from clipkit.evaluation.audit.group_classification import measure_classification
from clipkit.evaluation.audit.grouped_images import column_groups
from clipkit.evaluation.audit.report import GroupClassification
from clipkit.evaluation.classification import ImageScores
from clipkit.metrics.calibration import expected_calibration_error


def measured(
    labels: np.ndarray, predicted: np.ndarray, groups: np.ndarray, confidences: np.ndarray
) -> GroupClassification:
    nothing = np.zeros(len(labels))
    scores = ImageScores(
        (labels != predicted).astype(np.intp), predicted, confidences, nothing, nothing
    )
    column = column_groups("side", [f"g{group}" for group in groups])
    return measure_classification(column, labels, scores, ("a", "b"), families=1)


def test_rates_by_hand() -> None:
    """Of class a 15 of 20 in one group and 5 of 20 in the other; of b 16 and 18."""
    labels = np.repeat([0, 1, 0, 1], 20)
    groups = np.repeat([0, 0, 1, 1], 20)
    hits = np.concatenate([np.arange(20) < some for some in (15, 16, 5, 18)])
    found = measured(labels, np.where(hits, labels, 1 - labels), groups, np.full(80, 0.7))
    rates = {(one.class_name, one.rate): one for one in found.rates}
    assert rates["a", "tpr"].gap.mean == pytest.approx(0.5)
    assert rates["b", "tpr"].gap.mean == pytest.approx(0.1)
    assert rates["b", "fpr"].gap.mean == pytest.approx(0.5)  # what is not a is taken for b
    assert rates["a", "fpr"].gap.mean == pytest.approx(0.1)
    assert (found.tpr_gap, found.fpr_gap) == pytest.approx((0.5, 0.5))
    assert dict(rates["a", "tpr"].groups)["g0"].count == 20
    assert rates["a", "tpr"].p < 0.05 < rates["b", "tpr"].p
    assert [one.accuracy.mean for one in found.groups] == pytest.approx([31 / 40, 23 / 40])
    assert found.gap.mean == pytest.approx(8 / 40)
    assert [one.overconfidence.mean for one in found.groups] == pytest.approx([-0.075, 0.125])


def test_the_calibration_error_is_that_of_the_metric() -> None:
    rng = np.random.default_rng(0)
    groups, confidences = np.repeat([0, 1], 40), rng.random(80).round(1)
    labels = rng.integers(2, size=80)
    predicted = rng.integers(2, size=80)
    found = measured(labels, predicted, groups, confidences)
    for place, group in enumerate(found.groups):
        some = groups == place
        right = labels[some] == predicted[some]
        expected = expected_calibration_error(confidences[some], right)
        assert group.ece.mean == pytest.approx(expected)
        assert group.ece.low <= group.ece.mean <= group.ece.high


def test_a_class_mix_is_no_breach_of_equalised_odds() -> None:
    """Class b is harder, and one group has more of it: accuracy differs, and the odds do not."""
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.repeat([0, 1], [160, 40]), np.repeat([0, 1], [40, 160])])
    groups = np.repeat([0, 1], 200)
    hits = rng.random(400) < np.where(labels == 0, 0.95, 0.5)
    found = measured(labels, np.where(hits, labels, 1 - labels), groups, np.full(400, 0.7))
    assert found.groups[0].difference_p < 0.01
    assert min(one.p for one in found.rates) > 0.05


def test_cells_of_few_images_have_no_rate() -> None:
    labels = np.concatenate([np.repeat([0, 1], [30, 10]), np.repeat([0, 1], [25, 15])])
    found = measured(labels, labels, np.repeat([0, 1], 40), np.full(80, 0.7))
    assert {one.class_name for one in found.rates} == {"a"}
    assert all(share.count >= 20 for one in found.rates for _, share in one.groups)
