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
from clipkit.runs.validation import RETENTION_ACCURACY, SCORE
from clipkit.training.loop import Validation

# How probable it must be that more was forgotten than is allowed: two to one. Of the 45 sample
# photographs and 2 % that is so if 2 are lost and none gained. These two limits were chosen on the
# first of the three seeds of benchmarks/verdicts.py.
FORGETTING_PROBABILITY = 2 / 3
# How probable it must be that one candidate has the lower score for it to be called worse.
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
        max_forgetting: How far the accuracy on the retention set may be below that of the base
            model, 0..1. More is forgotten only if the images say so with FORGETTING_PROBABILITY.

    Returns:
        Of the candidates that have not forgotten more and whose score is not worse than the highest
        with WORSE_PROBABILITY: the one with the highest fine score, which the same images tell
        apart more finely; then with the higher score, then the one nearest to the base model.
        Without scores, the one with the most of the trained weights.
    """
    base = candidates[0].validation
    is_used = knows_something(base)
    forgot = [
        found.alpha
        for found in candidates[1:]
        if is_used and forgetting(base, found.validation, max_forgetting) >= FORGETTING_PROBABILITY
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


def forgetting(start: Validation, end: Validation, max_forgetting: float) -> float:
    """Return how probable it is that more was forgotten than is allowed.

    Args:
        start: Of the base model.
        end: Of other weights, of the same images.
        max_forgetting: A share of the retention set, 0..1.

    Returns:
        0..1; 0 if fewer images were lost than that, whatever their number may hide.
    """
    change = retention_change(start, end)
    if change.lost - change.gained <= max_forgetting * change.count:
        return 0.0
    return change.probability_of_loss(max_forgetting)


def retention_change(start: Validation, end: Validation) -> PairedChange:
    """Return what became of the images of the retention set."""
    return PairedChange.of(start.per_image[RETENTION_ACCURACY], end.per_image[RETENTION_ACCURACY])


def _best(allowed: Sequence[Candidate]) -> Candidate:
    highest = max(allowed, key=lambda found: (_score(found), _fine(found), -found.alpha))
    alike = [found for found in allowed if not _is_worse(found.validation, highest.validation)]
    return max(alike, key=lambda found: (_fine(found), _score(found), -found.alpha))


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
