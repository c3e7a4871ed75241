"""What decided a run's verdict, in sentences, and how sure its measurements are."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from clipkit.metrics.comparison import PairedChange, share_interval
from clipkit.runs.report import TrainingReport
from clipkit.runs.validation import RETENTION_ACCURACY, SCORE
from clipkit.runs.verdict import (
    Candidate,
    choose,
    forgetting,
    knows_something,
    retention_change,
)
from clipkit.training.config import RunConfig
from clipkit.training.loop import Validation

NOTHING_MEASURED = (
    "nothing was measured, as there are no validation pairs: set data.validation or "
    "data.validation_fraction to know what the model is worth"
)
# A difference that is as probable as this is called one.
_SURE = 0.9


def intervals(validation: Validation) -> dict[str, tuple[float, float]]:
    """Return where the true values of measurements lie with 95 %.

    Args:
        validation: With the values of each image.

    Returns:
        Low and high by name: "score", and the accuracy on the retention set; what was not measured
        is not there.
    """
    found = {
        name: share_interval(validation.per_image[name])
        for name in (SCORE, RETENTION_ACCURACY)
        if name in validation.per_image
    }
    return {name: (interval.low, interval.high) for name, interval in found.items()}


def verdict_notes(
    config: RunConfig,
    candidates: Sequence[Candidate],
    trained: Validation,
    report: TrainingReport,
    checkpoint: Path,
) -> list[str]:
    """Return what a person should know of how the final weights were chosen.

    Args:
        config: The run, from a base model.
        candidates: What the final weights were chosen from, the base model first.
        trained: Of the trained weights.
        report: With the chosen alpha; None: the trained weights are the final ones.
        checkpoint: Where the trained weights are.

    Returns:
        Sentences.
    """
    start = candidates[0].validation
    alpha = 1.0 if report.alpha is None else report.alpha
    final = next((found.validation for found in candidates if found.alpha == alpha), trained)
    notes = [
        *_retention_notes(config, start, trained, report.final),
        *_validation_notes(start, final, alpha),
    ]
    if report.alpha == 0:
        notes.append(_not_worth_it(config, candidates, checkpoint))
    return notes


def _retention_notes(
    config: RunConfig, start: Validation, end: Validation, final: Mapping[str, float]
) -> list[str]:
    """Return what the trained weights have forgotten, and whether that decided."""
    right = start.per_image.get(RETENTION_ACCURACY)
    if right is None:
        return []
    before, after = start.metrics[RETENTION_ACCURACY], end.metrics[RETENTION_ACCURACY]
    change = retention_change(start, end)
    if not knows_something(start):
        return [
            f"the retention set decided nothing: the base model is right for {before:.1%} of its "
            f"{change.count} images, which guessing reaches too"
        ]
    most, lost = config.watch.max_forgetting, forgetting(start, end)
    answers = (
        f"of {change.count} images of the retention set {change.lost} were right before and are "
        f"wrong with the trained weights, {change.gained} the other way ({before:.1%} to "
        f"{after:.1%})"
    )
    if lost > most:
        kept = final.get(RETENTION_ACCURACY, after)
        end_of_line = "" if kept == after else f"; the final weights are at {kept:.1%}"
        return [
            f"the trained weights forgot: the right labels of the {change.count} images of the "
            f"retention set became {100 * lost:.1f} points less probable on average, more than "
            f"watch.max_forgetting = {most:g}; {answers}{end_of_line}. A lower optimizer.lr or "
            "fewer epochs forget less"
        ]
    if before - after <= most:
        return []
    return [
        f"{answers}: so few may be chance, and did not decide. Their right labels became "
        f"{100 * lost:.1f} points less probable on average, within watch.max_forgetting = {most:g}"
    ]


def _validation_notes(start: Validation, final: Validation, alpha: float) -> list[str]:
    """Return a sentence if the validation images do not tell the final weights from the start."""
    values = [validation.per_image.get(SCORE) for validation in (start, final)]
    if alpha == 0 or values[0] is None or values[1] is None:
        return []
    change = PairedChange.of(values[1], values[0])  # lost: better with the final weights
    probability = change.probability_of_loss(0.0)
    if probability >= _SURE:
        return []
    return [
        f"{change.count} validation images hardly tell the final weights from the base model: "
        f"{change.lost} are better, {change.gained} worse, so that the final weights are better "
        f"with a probability of {probability:.0%}. More of them would"
    ]


def _not_worth_it(config: RunConfig, candidates: Sequence[Candidate], checkpoint: Path) -> str:
    start = candidates[0].validation
    most = config.watch.max_forgetting
    better = [
        found.alpha
        for found in candidates[1:]
        if start.score is not None and (found.validation.score or 0.0) > start.score
    ]
    forgot = [alpha for alpha in better if alpha in choose(candidates, max_forgetting=most).forgot]
    named = ", ".join(f"{alpha:g}" for alpha in forgot or better)
    again = ""
    if forgot:
        why = f"alpha {named} measured better and forgot more than watch.max_forgetting = {most:g} "
        why += "allows"
        again = (
            f"; to choose again by another limit, clipkit train --finalize {config.output} --set "
            "watch.max_forgetting=0.1"
        )
    elif better:
        why = (
            f"alpha {named} measured better on so few images that it may be chance, and gives the "
            "right answers a lower probability"
        )
    else:
        why = "no share of the trained weights measured better than the base model"
    return (
        f"training was not worth it: {why}, so the final weights are the base model's. The trained "
        f"ones are in {checkpoint}{again}"
    )
