"""What measurements of rungs over several splits say: figures of each, and differences of two.

Shapes: N images, M test images of a split, S splits, C classes.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clipkit.adaptation.rung import Measured
from clipkit.adaptation.splits import Split
from clipkit.metrics.calibration import expected_calibration_error
from clipkit.metrics.classification import (
    label_ranks,
    mean_per_class,
)
from clipkit.metrics.comparison import Values
from clipkit.runtime.base import Scoring
from clipkit.zero_shot.probabilities import label_log_losses


@dataclass(frozen=True)
class RungResults:
    """The measurements of one rung on the test images of several splits."""

    measured: tuple[Measured, ...]  # S
    splits: tuple[Split, ...]  # S
    labels: NDArray[np.intp]  # the class of every image, shape (N,)

    @cached_property
    def right(self) -> list[NDArray[np.bool_]]:
        """Whether each test image of each split is right, shape (M,)."""
        return [
            label_ranks(found.logits, self.labels[split.test]) < 1
            for found, split in zip(self.measured, self.splits, strict=True)
        ]

    @cached_property
    def num_tests(self) -> NDArray[np.intp]:
        """How many of the splits test each image, shape (N,)."""
        tests = np.zeros(len(self.labels), dtype=np.intp)
        for split in self.splits:
            tests[split.test] += 1
        return tests

    @cached_property
    def per_image(self) -> Values:
        """How often each image is right of the splits that test it, shape (N,); NaN: of none."""
        hits = np.zeros(len(self.labels))
        for right, split in zip(self.right, self.splits, strict=True):
            hits[split.test] += right
        return np.where(self.num_tests > 0, hits / np.maximum(self.num_tests, 1), np.nan)

    @property
    def num_measured(self) -> int:
        """How many different images the splits test."""
        return int(np.count_nonzero(self.num_tests))

    @property
    def accuracies(self) -> list[float]:
        """The accuracy of each split."""
        return [float(right.mean()) for right in self.right]

    @property
    def mean_per_class(self) -> float:
        """The accuracy of each class averaged, mean over the splits."""
        return float(
            np.mean(
                [
                    mean_per_class(right, self.labels[split.test])
                    for right, split in zip(self.right, self.splits, strict=True)
                ]
            )
        )

    def of_classes(self) -> dict[int, float]:
        """Return the accuracy of each class that is tested, over all splits."""
        tested = ~np.isnan(self.per_image)
        return {
            int(label): float(self.per_image[tested & (self.labels == label)].mean())
            for label in np.unique(self.labels[tested])
        }

    def ece(self, *, is_calibrated: bool) -> float:
        """Return the expected calibration error, mean over the splits.

        Args:
            is_calibrated: Whether of the probabilities at the temperature that held-out training
                images ask for, and not of those as fitted.

        Returns:
            0 (calibrated) to 1.
        """
        errors = []
        for found, right in zip(self.measured, self.right, strict=True):
            logits = found.logits * (found.scale if is_calibrated else 1.0)
            confidences = np.exp(-label_log_losses(logits, Scoring(0.0, None))).max(axis=1)
            errors.append(expected_calibration_error(confidences.clip(0, 1), right))
        return float(np.mean(errors))

    @property
    def kept(self) -> float | None:
        """The accuracy on images of other things, mean over the splits; None: not measured."""
        kept = [found.retention for found in self.measured if found.retention is not None]
        return float(np.mean([one.right.mean() for one in kept])) if kept else None


@dataclass(frozen=True)
class Gain:
    """By how much one rung is better than another on the same images."""

    mean: float  # of the splits, as their accuracies are
    error: float  # its standard error, over the images; of one image 1


def gain(after: RungResults, before: RungResults) -> Gain:
    """Return by how much one rung is right more often than another.

    Args:
        after: Of the same splits as the other, or of others with the same test images.
        before: The other.

    Returns:
        The mean difference, each image counted as often as it is tested. The error is that of
        images: answers about one image in several splits are no independent observations.
    """
    tested = after.num_tests > 0
    counts = after.num_tests[tested]
    differences = (after.per_image - before.per_image)[tested]
    mean = float(np.average(differences, weights=counts))
    num = len(differences)
    if num < 2:
        return Gain(mean, 1.0)
    spread = np.sqrt(num / (num - 1) * np.sum((counts * (differences - mean)) ** 2))
    return Gain(mean, float(spread / counts.sum()))


def forgetting(after: RungResults, before: RungResults) -> float:
    """Return how much less probable the right names of other things have become.

    Args:
        after: Of a rung that may have changed the model.
        before: Of one that left it as it was; both of the same splits.

    Returns:
        The mean difference over images and splits, -1..1; 0 where it was not measured.
    """
    falls = [
        then.retention.probabilities - now.retention.probabilities
        for then, now in zip(before.measured, after.measured, strict=True)
        if then.retention is not None and now.retention is not None
    ]
    return float(np.mean(falls)) if falls else 0.0
