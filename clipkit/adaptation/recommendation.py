"""Which rung is worth its cost: the cheapest one that noise does not tell from the best.

Shapes: N images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipkit.adaptation.extrapolation import expected_accuracy
from clipkit.adaptation.pixel_baseline import BASELINE
from clipkit.adaptation.report import ClassNeed, CurvePoint
from clipkit.adaptation.results import RungResults, forgetting, gain, log_gain

_MOST_NEEDS = 5  # classes that are named
_STILL_RISING = 0.01  # of accuracy by the last doubling of images
# Standard errors that a rung may be behind the best one for being cheaper. Chosen on other draws of
# images than those that docs/adaptation.md reports (benchmarks/ladder.py --advice).
NOISE = 0.5


def remembering(
    results: Mapping[str, RungResults], max_forgetting: float
) -> dict[str, RungResults]:
    """Return the rungs after which the model still knows other things.

    Args:
        results: Of each rung by its name; the first leaves the model as it is.
        max_forgetting: How much less probable the right names of other things may be, 0..1.

    Returns:
        Those that forget no more, in their order.
    """
    base = next(iter(results.values()))
    return {
        name: found for name, found in results.items() if forgetting(found, base) <= max_forgetting
    }


def choose_rung(results: Mapping[str, RungResults]) -> str:
    """Return the cheapest rung that the best ones do not clearly beat.

    Args:
        results: Of each rung by its name, cheapest first.

    Returns:
        The name of the first rung that is behind the best by no more than NOISE standard errors,
        both by accuracy and by the log probability of the right classes; if there is none, the best
        by log probability. It tells rungs apart by fewer images than accuracy does, and accuracy is
        what counts.
    """
    most_right, surest = best_rung(results), max(results, key=lambda name: _knows(results[name]))
    for name, found in results.items():
        is_behind = gain(results[most_right], found).exceeds(NOISE)
        if not is_behind and not log_gain(results[surest], found).exceeds(NOISE):
            return name
    return surest


def _knows(found: RungResults) -> float:
    return float(np.nanmean(found.log_probabilities))


def best_rung(results: Mapping[str, RungResults]) -> str:
    """Return the rung of the highest accuracy, of equal ones the cheapest."""
    return max(results, key=lambda name: np.mean(results[name].accuracies))


@dataclass(frozen=True)
class Choice:
    """The rung to take, and what speaks for it."""

    name: str
    sentence: str


def recommend(
    results: Mapping[str, RungResults],
    titles: Mapping[str, str],
    baseline: RungResults | None,
    curve: Sequence[CurvePoint],
) -> Choice:
    """Return which rung to take, with the reason.

    Args:
        results: Of each rung by its name, cheapest first; the first is the model as it is.
        titles: Of each rung by its name.
        baseline: Of the small model without the base, if it was measured.
        curve: Of the rung that :func:`choose_rung` names.

    Returns:
        The choice; its name is "pixels" where the small model beats the best rung clearly.
    """
    name, best = choose_rung(results), best_rung(results)
    share = float(np.mean(results[name].accuracies))
    if baseline is not None and gain(baseline, results[best]).exceeds(NOISE):
        without = float(np.mean(baseline.accuracies))
        return Choice(
            BASELINE,
            "A small task-specific model trained on these labels beats the base: use that. It is "
            f"right for {without:.1%} of unseen images, and the best rung ({titles[best]}) for "
            f"{np.mean(results[best].accuracies):.1%}: what these labels are about is not what "
            "the base was trained to see.",
        )
    sentence = f"Take {titles[name]}: {share:.1%} of unseen images"
    first = next(iter(results))
    if name == first:
        sentence += ", and these show nothing that costs more to be better"
    else:
        more = gain(results[name], results[first])
        sentence += (
            f", {100 * more.mean:+.1f} ± {100 * more.error:.1f} points against {titles[first]}"
        )
    over = gain(results[best], results[name])
    if over.mean > 0:
        sentence += (
            f"; {titles[best]} has {100 * over.mean:+.1f} ± {100 * over.error:.1f} more, but the "
            "choice goes by the probability of the right classes, which moves less by chance"
        )
    sentence += "."
    return Choice(name, f"{sentence} {_on_labels(curve)}".strip())


def class_needs(
    found: RungResults, labels: NDArray[np.intp], class_names: Sequence[str]
) -> tuple[ClassNeed, ...]:
    """Return the classes that more labels would help first: those that are wrong most often.

    Args:
        found: Of the recommended rung.
        labels: The class of each image, shape (N,).
        class_names: Their names.

    Returns:
        At most five of an accuracy below the mean of the classes, lowest first, of equal ones the
        class of fewer images.
    """
    accuracies = found.of_classes()
    mean = float(np.mean(list(accuracies.values())))
    counts = np.bincount(labels, minlength=len(class_names))
    low = [label for label, accuracy in accuracies.items() if accuracy < min(mean, 1 - 1e-9)]
    low.sort(key=lambda label: (accuracies[label], counts[label]))
    return tuple(
        ClassNeed(class_names[label], int(counts[label]), accuracies[label])
        for label in low[:_MOST_NEEDS]
    )


def _on_labels(curve: Sequence[CurvePoint]) -> str:
    """Return what more labels would bring, by what the last doubling has brought."""
    if len(curve) < 2:
        return ""
    before, after = curve[-2:]
    rise = after.accuracy - before.accuracy
    if rise < max(_STILL_RISING, (before.spread + after.spread) / 2):
        return ""
    sentence = (
        f"More labels would help: from {before.num_images} to {after.num_images} images it rose by "
        f"{100 * rise:.1f} points"
    )
    twice = 2 * after.num_images
    expected = expected_accuracy(curve, twice)
    if expected is None:
        return f"{sentence}."
    return f"{sentence}, and with {twice} it would come to about {expected:.0%} if that goes on."
