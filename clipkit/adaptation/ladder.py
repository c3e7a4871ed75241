"""The ladder: each way of adapting a model, cheapest first, measured on the same splits.

Shapes: N images, C classes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clipkit.adaptation.pixel_baseline import BASELINE, BASELINE_TITLE
from clipkit.adaptation.recommendation import best_rung
from clipkit.adaptation.report import CurvePoint, RungReport
from clipkit.adaptation.results import RungResults, forgetting, gain
from clipkit.adaptation.rung import Rung
from clipkit.adaptation.splits import Split
from clipkit.progress import Callbacks

RungCallback = Callable[[str, float], None]
"""Called with what a rung is, and its accuracy: the mean over the splits, 0..1."""


def climb(
    rungs: Sequence[Rung],
    splits: Sequence[Split],
    labels: NDArray[np.intp],
    callbacks: Callbacks,
    on_rung: RungCallback = lambda title, accuracy: None,
) -> dict[str, RungResults]:
    """Return the measurements of each rung that can be fitted on all splits.

    Args:
        rungs: Cheapest first.
        splits: One or more.
        labels: The class of each image, shape (N,).
        callbacks: For a message before each rung, and progress, a step a rung and split.
        on_rung: Called with each rung as it has been measured.

    Returns:
        By the name of the rung, in their order.
    """
    usable = [rung for rung in rungs if not lack_of(rung, splits, labels)]
    results = {}
    with callbacks.progress_for("climbing the ladder") as progress:
        done, total = 0, len(usable) * len(splits)
        progress(0, total)
        for rung in usable:
            callbacks.say(f"fitting {rung.title}")
            measured = []
            for split in splits:
                measured.append(rung.measure(split))
                done += 1
                progress(done, total)
            results[rung.name] = RungResults(tuple(measured), tuple(splits), labels)
            on_rung(rung.title, float(np.mean(results[rung.name].accuracies)))
    return results


def lack_of(rung: Rung, splits: Sequence[Split], labels: NDArray[np.intp]) -> str:
    """Return why a rung cannot be fitted on the splits; "" if it can."""
    num_classes = int(labels.max()) + 1
    counts = [np.bincount(labels[split.train], minlength=num_classes) for split in splits]
    return next(filter(None, map(rung.lack, counts)), "")


def learning_curve(rung: Rung, whole: RungResults) -> tuple[CurvePoint, ...]:
    """Return the accuracy of a rung with 1, 2, 4, … images a class, up to all there are.

    Args:
        rung: To fit on ever more of the training images of each split.
        whole: Its results with all of them, which are the last point.

    Returns:
        A point each number of images a class that it can be fitted on.
    """
    splits, labels = whole.splits, whole.labels
    most = max(int(np.bincount(labels[split.train]).max()) for split in splits)
    points = []
    for shots in _doublings(most):
        few = tuple(split.few(labels, shots) for split in splits)
        if not lack_of(rung, few, labels):
            points.append(_point(shots, RungResults(tuple(map(rung.measure, few)), few, labels)))
    return (*points, _point(most, whole))


def _point(shots: int, found: RungResults) -> CurvePoint:
    return CurvePoint(
        shots=shots,
        num_images=round(np.mean([len(split.train) for split in found.splits])),
        accuracy=float(np.mean(found.accuracies)),
        spread=_spread(found.accuracies),
    )


def rung_reports(
    rungs: Sequence[Rung],
    results: Mapping[str, RungResults],
    splits: Sequence[Split],
    labels: NDArray[np.intp],
    class_names: Sequence[str],
) -> tuple[RungReport, ...]:
    """Return the figures of each rung, those without any included.

    Args:
        rungs: Cheapest first.
        results: Of those that were measured, by name; the first leaves the model as it is.
        splits: That they were measured on.
        labels: The class of each image, shape (N,).
        class_names: C names.

    Returns:
        One report a rung, in their order.
    """
    reports = []
    cheaper: dict[str, RungResults] = {}  # by title
    base = next(iter(results.values()))
    for rung in rungs:
        found = results.get(rung.name)
        if found is None:
            lack = lack_of(rung, splits, labels)
            reports.append(RungReport(rung.step, rung.name, rung.title, lack=lack))
            continue
        report = _report(rung.step, rung.name, rung.title, found, class_names)
        if cheaper:
            best = best_rung(cheaper)
            over = gain(found, cheaper[best])
            report = replace(report, gain=over.mean, gain_error=over.error, gain_over=best)
        reports.append(replace(report, forgot=forgetting(found, base)))
        cheaper[rung.title] = found
    return tuple(reports)


def baseline_report(found: RungResults, class_names: Sequence[str]) -> RungReport:
    """Return the figures of the small model without the base."""
    return _report(None, BASELINE, BASELINE_TITLE, found, class_names)


def _report(
    step: int | None,
    name: str,
    title: str,
    found: RungResults,
    class_names: Sequence[str],
) -> RungReport:
    of_classes = found.of_classes()
    worst = min(of_classes, key=lambda label: of_classes[label])
    return RungReport(
        step=step,
        name=name,
        title=title,
        accuracy=float(np.mean(found.accuracies)),
        spread=_spread(found.accuracies),
        mean_per_class=found.mean_per_class,
        worst_class=class_names[worst],
        worst_accuracy=of_classes[worst],
        ece=found.ece(is_calibrated=False),
        ece_calibrated=found.ece(is_calibrated=True),
        kept=found.kept,
        seconds=float(np.mean([one.seconds for one in found.measured])),
        num_bytes=round(np.mean([one.num_bytes for one in found.measured])),
    )


def _spread(accuracies: Sequence[float]) -> float:
    return float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else 0.0


def _doublings(most: int) -> list[int]:
    """Return 1, 2, 4, … below a number."""
    return [2**power for power in range(most.bit_length()) if 2**power < most]
