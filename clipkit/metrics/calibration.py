"""Calibration metrics: whether images classified with 80 % confidence are right in 80 % of cases.

Shapes: N images, C classes, B bins.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clipkit.errors import InputError
from clipkit.metrics.classification import label_log_probabilities

NUM_BINS = 15  # as Guo et al. 2017 have it, whom others follow
MOST_SCALE = 100.0  # of logits: where none is wrong, none is too large
_SCALE_TOLERANCE = 1e-4
Binning = Literal["width", "mass"]
Probabilities = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class ReliabilityBin:
    """The images whose confidence lies in one bin of a reliability diagram."""

    low: float  # the bin holds confidences above this, and the first one those equal to it
    high: float  # up to this one
    count: int  # of images, at least 1
    confidence: float  # mean
    accuracy: float  # share of images that are right

    @property
    def gap(self) -> float:
        """How much more confident than right: above 0 where the model is overconfident."""
        return self.confidence - self.accuracy


def reliability_bins(
    confidences: Probabilities,
    is_right: NDArray[np.bool_],
    *,
    num_bins: int = NUM_BINS,
    binning: Binning = "width",
) -> list[ReliabilityBin]:
    """Return mean confidence and accuracy bin by bin: the bars of a reliability diagram.

    Args:
        confidences: The probability of the class that was chosen, shape (N,), in 0..1.
        is_right: Whether it was the right class, shape (N,).
        num_bins: B, at least 1.
        binning: "width": bins of equal width (low, high]; "mass": bins of about equally many
            images, in which equal confidences are together.

    Returns:
        The bins that hold images, by confidence.

    Raises:
        InputError: If there is no image, shapes differ, or a confidence is no probability.
    """
    _check(confidences, is_right, num_bins)
    values = confidences.astype(np.float64)
    if binning == "width":
        edges = np.linspace(0, 1, num_bins + 1)
    else:
        edges = np.quantile(values, np.linspace(0, 1, num_bins + 1), method="inverted_cdf")
        edges = np.unique(edges) if edges[0] < edges[-1] else edges[[0, -1]]
    # A confidence on an edge is of the bin below it.
    number = np.clip(np.searchsorted(edges, values, side="left") - 1, 0, len(edges) - 2)
    found = []
    for bin_number in np.unique(number).tolist():
        is_in = number == bin_number
        found.append(
            ReliabilityBin(
                low=float(edges[bin_number]),
                high=float(edges[bin_number + 1]),
                count=int(np.count_nonzero(is_in)),
                confidence=float(values[is_in].mean()),
                accuracy=float(is_right[is_in].mean()),
            )
        )
    return found


def expected_calibration_error(
    confidences: Probabilities,
    is_right: NDArray[np.bool_],
    *,
    num_bins: int = NUM_BINS,
    binning: Binning = "width",
) -> float:
    """Return the expected calibration error (ECE).

    It is the gap between confidence and accuracy of each bin, weighted by the bin's images. It
    grows with the number of bins and shrinks with the number of images, so figures of equal
    settings compare.

    Args:
        confidences: As for :func:`reliability_bins`.
        is_right: Likewise.
        num_bins: Likewise.
        binning: "width" is the usual one; "mass" the adaptive ECE.

    Returns:
        0 (calibrated) to 1.

    Raises:
        InputError: As for :func:`reliability_bins`.

    Example:
        >>> confidences = np.array([0.95, 0.9, 0.8, 0.7, 0.65, 0.55, 0.4, 0.35])
        >>> is_right = np.array([1, 1, 0, 1, 1, 0, 0, 1], dtype=bool)
        >>> round(expected_calibration_error(confidences, is_right, num_bins=5), 4)
        0.1375

    Source:
        Naeini et al. 2015; Guo et al. 2017 (arXiv 1706.04599). Adaptive: Nixon et al. 2019 (arXiv
        1904.01685), here of the chosen class.
    """
    bins = reliability_bins(confidences, is_right, num_bins=num_bins, binning=binning)
    return sum(part.count * abs(part.gap) for part in bins) / len(confidences)


def brier_scores(
    probabilities: NDArray[np.float64], labels: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """Return each image's squared error of the probabilities, summed over the classes.

    Args:
        probabilities: Of class c for image n, shape (N, C).
        labels: The right class of each image, shape (N,), in 0..C-1.

    Returns:
        Shape (N,), 0 to 2 for probabilities that sum to 1. Their mean is the Brier score as Brier
        defined it in 1950; for two classes it is twice what scikit-learn gives.

    Example:
        >>> brier_scores(np.array([[0.75, 0.25]]), np.array([0])).tolist()
        [0.125]
    """
    right = probabilities[np.arange(len(labels)), labels]
    summed: NDArray[np.float64] = (probabilities**2).sum(axis=1) - 2 * right + 1
    return summed


def selective_accuracy(
    confidences: Probabilities, is_right: NDArray[np.bool_], coverages: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """Return the accuracy on the most confident images, for several shares of all images.

    Args:
        confidences: Shape (N,), N >= 1; higher is surer.
        is_right: Shape (N,).
        coverages: Shares of the images that are answered, above 0 and up to 1.

    Returns:
        The accuracy of each. Where the border falls among images of equal confidence, each of them
        counts by the share of them that is answered, so that ties neither help nor harm.

    Example:
        >>> confidences, is_right = (
        ...     np.array([0.9, 0.5, 0.5, 0.1]),
        ...     np.array([1, 1, 0, 0], dtype=bool),
        ... )
        >>> selective_accuracy(confidences, is_right, np.array([0.5, 1.0])).tolist()
        [0.75, 0.5]
    """
    order = np.argsort(-confidences, kind="stable")
    sorted_confidences = confidences[order]
    _, starts, counts = np.unique(-sorted_confidences, return_index=True, return_counts=True)
    sums = np.add.reduceat(is_right[order].astype(np.float64), starts)
    expected = np.repeat(sums / counts, counts)  # of each image among those of its confidence
    taken = np.concatenate([[0.0], np.cumsum(expected)])
    wanted = np.clip(np.asarray(coverages, dtype=np.float64) * len(order), 1, len(order))
    accuracies: NDArray[np.float64] = np.interp(wanted, np.arange(len(order) + 1), taken) / wanted
    return accuracies


def _check(confidences: Probabilities, is_right: NDArray[np.bool_], num_bins: int) -> None:
    if confidences.ndim != 1 or confidences.shape != is_right.shape or not len(confidences):
        raise InputError(
            "confidences and is_right must have one shape (N,), N >= 1, got "
            f"{confidences.shape} and {is_right.shape}"
        )
    if not ((confidences >= 0) & (confidences <= 1)).all():
        raise InputError(
            "confidences must be probabilities from 0 to 1, got "
            f"{confidences.min():.6g} to {confidences.max():.6g}"
        )
    if num_bins < 1:
        raise InputError(f"the number of bins must be at least 1, got {num_bins}")


def best_scale(logits: NDArray[np.float64], labels: NDArray[np.integer[Any]]) -> float:
    """Return what logits are to be multiplied by for labels to be likeliest: 1 / temperature.

    The log probability is a concave function of it, so halving an interval finds the highest.

    Args:
        logits: Of image n for class c, shape (N, C), N >= 1.
        labels: The right class of each image, shape (N,).

    Returns:
        0 (the logits tell nothing) to MOST_SCALE, which separable images reach.

    Example:
        >>> logits = np.log([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1]])
        >>> round(best_scale(logits, np.array([0, 0, 0, 1])), 4)  # right in 3 of 4: ln 3 / ln 9
        0.5

    Source:
        Temperature scaling: Guo et al. 2017 (arXiv 1706.04599).
    """
    centred = logits - logits.max(axis=1, keepdims=True)
    right = centred[np.arange(len(labels)), labels]

    def slope(scale: float) -> float:
        weights = np.exp(scale * centred)
        means = (weights * centred).sum(axis=1) / weights.sum(axis=1)
        return float((right - means).mean())

    if slope(0.0) <= 0:
        return 0.0
    low, high = 0.0, MOST_SCALE
    while high - low > _SCALE_TOLERANCE * high:
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return high


def best_log_probability(logits: NDArray[np.float64], labels: NDArray[np.integer[Any]]) -> float:
    """Return the mean log probability of the right class at the temperature where it is highest.

    It compares what classifiers know of images, whatever their confidence: an overconfident one
    loses nothing, and one that knows nothing has ln(1/C).

    Args:
        logits: Of image n for class c, shape (N, C), N >= 1.
        labels: The right class of each image, shape (N,).

    Returns:
        A natural logarithm, in ln(1/C)..0.
    """
    scaled = best_scale(logits, labels) * logits
    return float(label_log_probabilities(scaled, labels).mean())
