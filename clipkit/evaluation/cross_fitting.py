"""What a calibration is worth on images that it was not fitted on.

Shapes: N images, C classes, D dimensions.
"""

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings
from clipkit.errors import InputError, MissingExtraError
from clipkit.evaluation.classification import (
    ImageScores,
    calibration_errors,
    image_values,
    score_images,
)
from clipkit.evaluation.report import CalibrationResult, LabelSetResult
from clipkit.metrics.comparison import share_interval
from clipkit.runtime.base import Scoring
from clipkit.zero_shot.calibration import conformal_rank, fit_scoring
from clipkit.zero_shot.probabilities import label_log_losses

_MOST_FOLDS = 5
_METRICS = ("nll", "ece", "adaptive_ece", "brier")
_COVERAGES = (0.8, 0.9, 0.95)


def check_can_calibrate() -> None:
    """Refuse to calibrate without SciPy, before any work.

    Raises:
        MissingExtraError: If it is not installed.
    """
    try:
        import scipy  # type: ignore[import-untyped]  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("evaluate", "Calibrating") from error


def measure_calibration(
    embeddings: Embeddings, labels: NDArray[np.intp], classes: Embeddings, scoring: Scoring
) -> CalibrationResult:
    """Return what calibrating changes, by cross-fitting: each fifth is measured by the others.

    Args:
        embeddings: Of the images, shape (N, D), N >= 2, rows of norm 1.
        labels: Their classes, shape (N,), in 0..C-1.
        classes: Of the class names, shape (C, D), rows of norm 1.
        scoring: The checkpoint's own.

    Returns:
        Metrics before and after, and label sets for those coverages that there are enough images
        for.

    Raises:
        InputError: If there is one image only.
        MissingExtraError: If SciPy is not installed.
    """
    size = len(labels)
    if size < 2:
        raise InputError("calibrating needs 2 labelled images at least, one to measure on; got one")
    cosines = np.asarray(embeddings, np.float64) @ np.asarray(classes, np.float64).T
    order = np.random.default_rng(0).permutation(size)
    folds = np.array_split(order, min(_MOST_FOLDS, size))
    others = [np.setdiff1d(order, fold) for fold in folds]
    after = ImageScores.joined(
        [
            score_images(
                embeddings[fold],
                labels[fold],
                classes,
                fit_scoring(cosines[rest], labels[rest], scoring),
            )
            for fold, rest in zip(folds, others, strict=True)
        ]
    )
    before = score_images(embeddings, labels, classes, scoring)
    num_classes = len(classes)
    losses = label_log_losses(cosines, scoring)
    is_first = np.arange(num_classes) == cosines.argmax(axis=1)[:, None]
    sets = [_label_sets(losses, is_first, labels, folds, coverage) for coverage in _COVERAGES]
    return CalibrationResult(
        folds=len(folds),
        before=_metrics(before, num_classes),
        after=_metrics(after, num_classes),
        label_sets=tuple(found for found in sets if found is not None),
    )


def _metrics(scores: ImageScores, num_classes: int) -> dict[str, float]:
    values = image_values(scores, num_classes)
    means = {name: float(found.mean()) for name, found in values.items()}
    found = means | calibration_errors(scores)
    return {name: found[name] for name in _METRICS}


def _label_sets(
    losses: NDArray[np.float64],
    is_first: NDArray[np.bool_],
    labels: NDArray[np.intp],
    folds: list[NDArray[np.intp]],
    coverage: float,
) -> LabelSetResult | None:
    """Return how the sets of each fold fare by a threshold of the others; None: too few images."""
    right = losses[np.arange(len(labels)), labels]
    is_in = np.zeros(losses.shape, dtype=np.bool_)
    for fold in folds:
        rest = np.sort(np.delete(right, fold))
        rank = conformal_rank(len(rest), coverage)
        if rank > len(rest):
            return None
        is_in[fold] = (losses[fold] <= rest[rank - 1]) | is_first[fold]
    sizes = is_in.sum(axis=1)
    held = is_in[np.arange(len(labels)), labels].astype(np.float64)
    return LabelSetResult(
        coverage, share_interval(held), float(sizes.mean()), float((sizes == 1).mean())
    )
