"""clipkit.compare: models side by side on the same data, and which differences are noise."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from clipkit.encoder.encoder import Encoder
from clipkit.errors import ClipkitError, ImageReadError, InputError
from clipkit.evaluation.evaluate import evaluate
from clipkit.evaluation.options import EvaluationOptions
from clipkit.evaluation.report import EvaluationReport, Task
from clipkit.evaluation.speed import Speed, measure_speeds
from clipkit.metrics.comparison import Interval
from clipkit.metrics.significance import holm, sign_flip_probability
from clipkit.models.listing import count_parameters
from clipkit.models.locate import locate
from clipkit.models.sources import resolve_source
from clipkit.progress import Callbacks

# What decides between models, by task; the other metrics are shown and decide nothing, or one of
# twenty would seem better by chance.
DECIDING: dict[Task, tuple[str, ...]] = {
    "zeroshot_classification": ("acc1",),
    "linear_probe": ("lp_acc1",),
    "zeroshot_retrieval": ("image_retrieval_recall@1", "text_retrieval_recall@1"),
    "search": ("map",),
}
_LOWER_IS_BETTER = ("nll", "brier", "ece", "adaptive_ece", "median_rank")
_LEVEL = 0.05


@dataclass(frozen=True)
class ComparedModel:
    """One of the models that are compared."""

    label: str  # its name; with engine and precision, or a number, where another has that name
    space_id: str
    engine: str
    precision: str
    device: str
    embed_dim: int
    parameters: int | None  # None: not known
    num_images: int  # that it could read; its metrics are of these
    metrics: dict[str, float]
    speed: Speed


@dataclass(frozen=True)
class MetricDifference:
    """How much better or worse a model is than the first one by a metric, on the same items."""

    model: str  # its label
    metric: str
    is_deciding: bool
    difference: Interval  # its value minus that of the first
    # That a difference as large comes about if the two are equally good (paired permutation test);
    # those that decide are corrected for their number (Holm).
    probability: float

    @property
    def is_noise(self) -> bool:
        """Whether equally good models would differ as much more often than once in 20."""
        return self.probability > _LEVEL

    @property
    def is_better(self) -> bool:
        """Whether the model's value is the better one, be it noise or not."""
        is_lower = self.difference.mean < 0
        return is_lower if self.metric.endswith(_LOWER_IS_BETTER) else self.difference.mean > 0


@dataclass(frozen=True)
class ComparisonReport:
    """Models side by side on one dataset; the first is what the others are held against."""

    data: str
    task: Task
    num_images: int  # that all models could read; differences are of these
    models: tuple[ComparedModel, ...]
    differences: tuple[MetricDifference, ...]
    warnings: tuple[str, ...] = ()
    skipped: tuple[ImageReadError, ...] = ()  # of any of the models, each image once

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON can hold it."""
        return {
            "data": self.data,
            "task": self.task,
            "num_images": self.num_images,
            "models": list(map(asdict, self.models)),
            "differences": [
                {**asdict(found), "is_noise": found.is_noise, "is_better": found.is_better}
                for found in self.differences
            ],
            "warnings": list(self.warnings),
            "skipped": [{"path": error.path, "reason": error.reason} for error in self.skipped],
        }


def compare(
    encoders: Sequence[Encoder],
    data: str | Path,
    options: EvaluationOptions | None = None,
    *,
    callbacks: Callbacks | None = None,
) -> ComparisonReport:
    """Return models side by side on a dataset, and which of their differences are noise.

    Each is measured as :func:`clipkit.evaluate` does; then differences are taken image by image, or
    query by query. How fast they are is measured on the photographs that come with clipkit.

    Args:
        encoders: Two or more; the first is what the others are held against.
        data: As for :func:`clipkit.evaluate`.
        options: What to measure; calibrating is not part of it.
        callbacks: For messages and progress.

    Returns:
        Metrics, differences with their intervals, sizes and speeds.

    Raises:
        InputError: If there are fewer than two models, a calibration is asked for, or as
            :func:`clipkit.evaluate`.
        MissingExtraError: As :func:`clipkit.evaluate`.
    """
    options = options or EvaluationOptions()
    callbacks = callbacks or Callbacks()
    if len(encoders) < 2:
        raise InputError(f"comparing needs two models at least, got {len(encoders)}")
    if options.calibrate:
        raise InputError("comparing does not calibrate: calibrate one model by clipkit evaluate")
    labels = _labels(encoders)
    reports: list[EvaluationReport] = []
    for label, encoder in zip(labels, encoders, strict=True):
        callbacks.say(f"evaluating {label}")
        reports.append(evaluate(encoder, data, options, callbacks=callbacks))
    speeds = measure_speeds(encoders, callbacks)
    items = _common_items(reports)
    skipped = {error.path: error for report in reports for error in report.skipped}
    # What one model has read and skipped is all there is; what any has skipped is not common.
    all_images = reports[0].num_images + len({error.path for error in reports[0].skipped})
    num_images = all_images - len(skipped)
    return ComparisonReport(
        data=reports[0].data,
        task=reports[0].task,
        num_images=num_images,
        models=tuple(map(_model, encoders, labels, reports, speeds)),
        differences=tuple(_differences(labels, reports, items)),
        warnings=(
            *_same_weights(encoders, labels),
            *_different_images(labels, reports, num_images),
            *_own_warnings(labels, reports),
        ),
        skipped=tuple(skipped.values()),
    )


def _labels(encoders: Sequence[Encoder]) -> list[str]:
    """Return what tells the models apart: their names where these do."""
    labels = [encoder.name for encoder in encoders]
    if len({*labels}) < len(labels):
        labels = [f"{encoder.name} ({encoder.precision}, {encoder.engine})" for encoder in encoders]
    if len({*labels}) < len(labels):
        labels = [f"{number}. {label}" for number, label in enumerate(labels, start=1)]
    return labels


def _model(encoder: Encoder, label: str, report: EvaluationReport, speed: Speed) -> ComparedModel:
    return ComparedModel(
        label=label,
        space_id=encoder.space_id,
        engine=encoder.engine,
        precision=encoder.precision,
        device=encoder.device,
        embed_dim=encoder.embed_dim,
        parameters=_parameters(encoder),
        num_images=report.num_images,
        metrics=report.metrics,
        speed=speed,
    )


def _parameters(encoder: Encoder) -> int | None:
    """Return how many weights a model has, if a file that is at hand says it."""
    try:
        weights = locate(resolve_source(encoder.name)).weights
    except ClipkitError:  # an encoder that was made from modules, or a compiled model alone
        return None
    return None if weights is None else count_parameters(weights)


def _common_items(reports: Sequence[EvaluationReport]) -> dict[str, np.ndarray[Any, Any]]:
    """Return for each metric the images or queries that every model has a value of."""
    common = {name: found.items for name, found in reports[0].values.items()}
    for report in reports[1:]:
        common = {
            name: np.intersect1d(items, report.values[name].items)
            for name, items in common.items()
            if name in report.values
        }
    return common


def _differences(
    labels: Sequence[str],
    reports: Sequence[EvaluationReport],
    common: dict[str, np.ndarray[Any, Any]],
) -> list[MetricDifference]:
    deciding = DECIDING[reports[0].task]
    found: list[MetricDifference] = []
    for label, report in zip(labels[1:], reports[1:], strict=True):
        for metric, items in common.items():
            first = reports[0].values[metric].among(items)
            second = report.values[metric].among(items)
            found.append(
                MetricDifference(
                    model=label,
                    metric=metric,
                    is_deciding=metric in deciding,
                    difference=first.change(second),
                    probability=sign_flip_probability(second.values - first.values, first.items),
                )
            )
    return _corrected(found)


def _corrected(differences: Sequence[MetricDifference]) -> list[MetricDifference]:
    """Return the differences with those that decide corrected for their number."""
    probabilities = np.array([found.probability for found in differences])
    is_deciding = np.array([found.is_deciding for found in differences], dtype=np.bool_)
    probabilities[is_deciding] = holm(probabilities[is_deciding])
    return [
        replace(found, probability=float(probability))
        for found, probability in zip(differences, probabilities, strict=True)
    ]


def _same_weights(encoders: Sequence[Encoder], labels: Sequence[str]) -> list[str]:
    return [
        f"{label} and {labels[0]} have the same weights, on the same engine and in the same "
        "precision: they cannot differ"
        for label, encoder in zip(labels[1:], encoders[1:], strict=True)
        if (encoder.space_id, encoder.engine, encoder.precision)
        == (encoders[0].space_id, encoders[0].engine, encoders[0].precision)
    ]


def _different_images(
    labels: Sequence[str], reports: Sequence[EvaluationReport], num_images: int
) -> list[str]:
    counts = [report.num_images for report in reports]
    if max(counts) == num_images:
        return []
    listed = ", ".join(f"{label} {count:,}" for label, count in zip(labels, counts, strict=True))
    return [
        f"the models could not read the same images ({listed}): differences are of the "
        f"{num_images:,} that all have read"
    ]


def _own_warnings(labels: Sequence[str], reports: Sequence[EvaluationReport]) -> list[str]:
    """Return what each evaluation warned of: once if all say the same, else with the model."""
    common = set.intersection(*({*report.warnings} for report in reports))
    found = [
        warning if warning in common else f"{label}: {warning}"
        for label, report in zip(labels, reports, strict=True)
        for warning in report.warnings
    ]
    return list(dict.fromkeys(found))
