"""Results of a rung that is right about the images it is told to be."""

from collections.abc import Sequence

import numpy as np

from clipkit.adaptation.results import RungResults
from clipkit.adaptation.rung import Measured
from clipkit.adaptation.splits import Split
from clipkit.adaptation.task import Retention

CONFIDENCE = 0.9  # the probability of the class that is chosen


def made_results(
    rights: Sequence[Sequence[bool | int]],
    labels: Sequence[int],
    tests: Sequence[Sequence[int]],
    *,
    retention: Sequence[bool] | None = None,
) -> RungResults:
    """Return results on splits.

    Args:
        rights: Of each split, whether each test image is right.
        labels: The class of every image, two classes.
        tests: The test images of each split.
        retention: Whether images of other things are right; their right name has .9, else .1.
    """
    measured, splits = [], []
    for seed, (right, test) in enumerate(zip(rights, tests, strict=True)):
        rows = np.array(test)
        said = np.where(
            np.array(right, dtype=bool), np.array(labels)[rows], 1 - np.array(labels)[rows]
        )
        logits = np.log(np.where(np.eye(2)[said] > 0, CONFIDENCE, 1 - CONFIDENCE))
        kept = None
        if retention is not None:
            kept = Retention(np.array(retention), np.where(retention, 0.9, 0.1))
        measured.append(Measured(logits, 1.0, kept, 0.5, 4000))
        splits.append(Split(seed, np.setdiff1d(np.arange(len(labels)), rows), rows))
    return RungResults(tuple(measured), tuple(splits), np.array(labels))
