"""Zero-shot classification by group: accuracy, calibration and equalised odds.

Shapes: N images with a known class and group, C classes, G groups.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clipkit.evaluation.audit.grouped_images import LEAST_IMAGES, ColumnGroups
from clipkit.evaluation.audit.report import GroupAccuracy, GroupClassification, RateGap
from clipkit.evaluation.classification import ImageScores
from clipkit.metrics.calibration import NUM_BINS
from clipkit.metrics.comparison import Interval, bootstrap_interval, share_interval
from clipkit.metrics.fairness import share_difference
from clipkit.metrics.group_tests import bootstrap_means, permutation_test

NUM_FAMILIES = 2  # of tests: the figures of groups, and equalised odds
Numbers = NDArray[np.intp]
Floats = NDArray[np.float64]


def measure_classification(
    column: ColumnGroups,
    labels: Numbers,
    scores: ImageScores,
    class_names: tuple[str, ...],
    *,
    families: int,
) -> GroupClassification:
    """Return how good classification is by group.

    Args:
        column: The groups of the images whose class is known.
        labels: The classes of these images.
        scores: What a classifier says of them.
        class_names: C.
        families: How many families of tests the report has.

    Returns:
        The figures.
    """
    right = scores.is_right[column.images].astype(np.float64)
    confidences = scores.confidences[column.images]
    values = np.stack([right, confidences - right], axis=1)
    test = permutation_test(values, column.groups, len(column.names), families=families)
    groups = tuple(
        _group(name, right, confidences, column.groups == place, test.p[place])
        for place, name in enumerate(column.names)
    )
    ranked = sorted(groups, key=lambda group: group.accuracy.mean)
    rates = _rates(column, labels, scores.predicted, class_names, families)
    gaps = {kind: [rate.gap.mean for rate in rates if rate.rate == kind] for kind in ("tpr", "fpr")}
    # Each image weighs so that the mean over images is the mean over the groups.
    counts = np.bincount(column.groups)
    balanced = right * len(right) / (len(counts) * counts[column.groups])
    return GroupClassification(
        groups=groups,
        best=ranked[-1].name,
        worst=ranked[0].name,
        gap=share_difference(ranked[-1].accuracy, ranked[0].accuracy),
        macro_accuracy=bootstrap_interval(balanced),
        rates=rates,
        tpr_gap=max(gaps["tpr"], default=None),
        fpr_gap=max(gaps["fpr"], default=None),
    )


def _group(
    name: str, right: Floats, confidences: Floats, is_of: NDArray[np.bool_], p: Floats
) -> GroupAccuracy:
    accuracy = share_interval(right[is_of])
    excess = _excess_by_bin(confidences[is_of], right[is_of])
    drawn = bootstrap_means(excess)
    means = excess.mean(axis=0)
    return GroupAccuracy(
        name=name,
        accuracy=accuracy,
        difference=share_difference(accuracy, share_interval(right[~is_of])),
        difference_p=float(p[0]),
        overconfidence=_interval(means.sum(), drawn.sum(axis=1), accuracy.count),
        overconfidence_p=float(p[1]),
        ece=_interval(np.abs(means).sum(), np.abs(drawn).sum(axis=1), accuracy.count),
    )


def _excess_by_bin(confidences: Floats, right: Floats) -> Floats:
    """Return how much more confident than right each image is, in the column of its bin.

    The sum of the columns' means is the overconfidence, that of their sizes the expected
    calibration error.
    """
    # As clipkit.metrics.calibration has them: a confidence on an edge is of the bin below it.
    number = np.maximum(np.ceil(confidences * NUM_BINS).astype(np.intp) - 1, 0)
    excess = np.zeros((len(right), NUM_BINS))
    excess[np.arange(len(right)), number] = confidences - right
    return excess


def _interval(mean: np.floating, drawn: Floats, count: int) -> Interval:
    low, high = np.percentile(drawn, [2.5, 97.5])
    # Errors of few images add up: what is drawn from them can lie above them altogether.
    return Interval(float(mean), min(float(low), float(mean)), max(float(high), float(mean)), count)


def _rates(
    column: ColumnGroups,
    labels: Numbers,
    predicted: Numbers,
    class_names: tuple[str, ...],
    families: int,
) -> tuple[RateGap, ...]:
    """Return the gaps of classes with enough images in two groups at least, largest first.

    Equalised odds: given the class, the answer has nothing to do with the group. So groups are
    shuffled among the images of one class.
    """
    own, taken_for = labels[column.images], predicted[column.images]
    counts = np.zeros((len(class_names), len(column.names)), dtype=np.intp)
    np.add.at(counts, (own, column.groups), 1)
    classes = np.flatnonzero(np.count_nonzero(counts >= LEAST_IMAGES, axis=1) >= 2)
    if not len(classes):
        return ()
    is_of, is_taken = own[:, None] == classes, taken_for[:, None] == classes
    values = np.concatenate([is_of & is_taken, ~is_of & is_taken], axis=1)
    test = permutation_test(values, column.groups, len(column.names), strata=own, families=families)
    rates = []
    for place, number in enumerate(classes.tolist()):
        of_class = is_of[:, place], is_taken[:, place], class_names[number]
        rates.append(_rate(column, "tpr", of_class, test.p[:, place]))
        rates.append(_rate(column, "fpr", of_class, test.p[:, len(classes) + place]))
    return tuple(sorted(filter(None, rates), key=lambda rate: -rate.gap.mean))


def _rate(
    column: ColumnGroups,
    kind: Literal["tpr", "fpr"],
    of_class: tuple[NDArray[np.bool_], NDArray[np.bool_], str],
    p: Floats,
) -> RateGap | None:
    """Return the gap of one rate of one class; None: two groups do not have enough images."""
    is_of, is_taken, name = of_class
    among = is_of if kind == "tpr" else ~is_of
    shown = np.flatnonzero(np.bincount(column.groups[among], minlength=len(p)) >= LEAST_IMAGES)
    if len(shown) < 2:
        return None
    found = [
        share_interval(is_taken[among & (column.groups == place)].astype(np.float64))
        for place in shown
    ]
    ranked = sorted(found, key=lambda share: share.mean)
    return RateGap(
        class_name=name,
        rate=kind,
        groups=tuple(zip([column.names[place] for place in shown], found, strict=True)),
        gap=share_difference(ranked[-1], ranked[0]),
        p=float(p[shown].min()),
    )
