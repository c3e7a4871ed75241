"""Which share of the trained weights a fine-tuned model keeps, and what decided.

Between the base model (alpha 0) and the trained weights (alpha 1) lie interpolations (WiSE-FT). Of
those that have not forgotten what the base model knew, the one that measures best is taken. Both
sets are small as a rule, so a difference counts by how many images it is made of.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipkit.metrics.comparison import PairedChange
from clipkit.metrics.significance import chance_of_as_many
from clipkit.runs.validation import RETENTION_ACCURACY, RETENTION_PROBABILITY, SCORE
from clipkit.training.loop import Validation

# How probable it must be that one candidate has the lower score for it to be called worse. Chosen
# on the first seed of benchmarks/verdicts.py.
WORSE_PROBABILITY = 0.9
# A start whose right answers guessing gives as often as this knows nothing that could be forgotten.
CHANCE_PROBABILITY = 0.01


@dataclass(frozen=True)
class Candidate:
    """Weights that the final ones may be."""

    alpha: float  # share of the trained weights, 0..1
    validation: Validation


@dataclass(frozen=True)
class Verdict:
    """Which candidate was chosen, and what decided."""

    alpha: float
    forgot: tuple[float, ...]  # alphas that were refused for what they forgot
    is_retention_used: bool  # False: there is no retention set, or the start is at chance on it


def choose(candidates: Sequence[Candidate], *, max_forgetting: float) -> Verdict:
    """Return which weights to keep.

    Args:
        candidates: By rising alpha, the base model (alpha 0) first.
        max_forgetting: How far the mean probability of the right labels of the retention set may
            be below that of the base model, 0..1.

    Returns:
        Of the candidates that have not forgotten more and whose score is not worse than the highest
        with WORSE_PROBABILITY: the one with the highest fine score, which the same images tell
        apart more finely, of equal ones the nearest to the base model. Without scores, the one with
        the most of the trained weights.
    """
    base = candidates[0].validation
    is_used = knows_something(base)
    forgot = [
        found.alpha
        for found in candidates[1:]
        if is_used and forgetting(base, found.validation) > max_forgetting
    ]
    allowed = [found for found in candidates if found.alpha not in forgot]
    best = allowed[-1] if base.score is None else _best(allowed)
    return Verdict(best.alpha, tuple(forgot), is_used)


def knows_something(start: Validation) -> bool:
    """Return whether a model is better than guessing on the retention set.

    Args:
        start: Of the base model.

    Returns:
        False also if there is no retention set.
    """
    right = start.per_image.get(RETENTION_ACCURACY)
    if right is None or start.retention_chance is None:
        return False
    count = int(np.count_nonzero(~np.isnan(right)))
    by_chance = chance_of_as_many(int(np.nansum(right)), count, start.retention_chance)
    return by_chance < CHANCE_PROBABILITY


def forgetting(start: Validation, end: Validation) -> float:
    """Return how much less probable the right labels of the retention set have become.

    Accuracy on a few dozen images moves in steps of points, and by chance. The mean probability of
    the right label, for each model at the temperature that fits these images best, is as large as
    the accuracy of a calibrated model, and moves with every image (docs/training.md has what it
    predicts of other photographs).

    Args:
        start: Of the base model.
        end: Of other weights, of the same images.

    Returns:
        The mean difference, -1..1; below 0 where more is known than before.
    """
    before, after = (found.per_image[RETENTION_PROBABILITY] for found in (start, end))
    return float(np.nanmean(before - after))


def retention_change(start: Validation, end: Validation) -> PairedChange:
    """Return what became of the images of the retention set."""
    return PairedChange.of(start.per_image[RETENTION_ACCURACY], end.per_image[RETENTION_ACCURACY])


def _best(allowed: Sequence[Candidate]) -> Candidate:
    highest = max(allowed, key=lambda found: (_score(found), _fine(found), -found.alpha))
    if highest.validation.fine_score is None:
        return highest
    alike = [found for found in allowed if not _is_worse(found.validation, highest.validation)]
    return max(alike, key=lambda found: (_fine(found), -found.alpha))


def _is_worse(validation: Validation, highest: Validation) -> bool:
    """Return whether the validation images tell a score from the highest one."""
    values, best = (found.per_image.get(SCORE) for found in (validation, highest))
    if values is None or best is None:
        return (validation.score or 0.0) < (highest.score or 0.0)
    return PairedChange.of(best, values).probability_of_loss(0.0) >= WORSE_PROBABILITY


def _score(candidate: Candidate) -> float:
    return candidate.validation.score or 0.0


def _fine(candidate: Candidate) -> float:
    fine = candidate.validation.fine_score
    return -np.inf if fine is None else fine
