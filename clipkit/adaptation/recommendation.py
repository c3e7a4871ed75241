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
from clipkit.adaptation.results import Gain, RungResults, forgetting, gain

_MOST_NEEDS = 5  # classes that are named
_STILL_RISING = 0.01  # of accuracy by the last doubling of images

# By how much the accuracy on unseen images is typically above the mean of the heads, and for how
# many measured images that counts: much between ways of adapting, which differ little, and little
# between them and what was not adapted or does without the base, which depends on the task. Fitted
# on three draws of each set of docs/adaptation.md, reported there on others and without the set
# itself (benchmarks/ladder.py --advice). What trains the model has not been measured as often: 0.
TYPICAL = {
    "prompt": -0.16,
    "prompts": -0.17,
    "tip-adapter": -0.02,
    "ss-text": 0.0,
    "gda": 0.02,
    "adapter": 0.0,
    "probe": 0.02,
    BASELINE: -0.06,
}
_NOT_ADAPTED = ("prompt", "prompts", BASELINE)
_COUNTS_AMONG_ADAPTED = 60
_COUNTS_FOR_OTHERS = 6
_ROUNDING = 1e-9
_WORTH = 0.01  # of accuracy; less than that is never worth a costlier rung


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


def expected_accuracies(
    results: Mapping[str, RungResults], typical: Mapping[str, float] = TYPICAL
) -> dict[str, float]:
    """Return what accuracy each rung is expected to have on other images.

    Over a few images the highest of several accuracies is high by luck. Each is therefore drawn
    towards what is typical of its rung beside the mean of all that adapt, the more the fewer images
    it was measured on.

    Args:
        results: Of each rung, and of the small model without the base, by its name.
        typical: By how much the accuracy of each is typically above the mean of the heads.

    Returns:
        The accuracies by name, in the same order; as measured where nothing was adapted.

    Source:
        Efron and Morris 1975, "Data Analysis Using Stein's Estimator and its Generalizations":
        (n measured + k typical) / (n + k).
    """
    measured = {name: float(np.mean(found.accuracies)) for name, found in results.items()}
    levels = [
        share - typical.get(name, 0.0)
        for name, share in measured.items()
        if name not in _NOT_ADAPTED
    ]
    if not levels:
        return measured
    level = float(np.mean(levels))
    expected: dict[str, float] = {}
    for name, share in measured.items():
        num_images = results[name].num_measured
        counts = _COUNTS_FOR_OTHERS if name in _NOT_ADAPTED else _COUNTS_AMONG_ADAPTED
        usual = level + typical.get(name, 0.0)
        expected[name] = (num_images * share + counts * usual) / (num_images + counts)
    return expected


def choose_rung(results: Mapping[str, RungResults], typical: Mapping[str, float] = TYPICAL) -> str:
    """Return the cheapest rung that is expected to be as good as the best.

    Args:
        results: As for :func:`expected_accuracies`, cheapest first.
        typical: As there.

    Returns:
        The name of the first one whose expected accuracy is behind the highest by no more than a
        standard error of the measured difference, and by no more than a point.
    """
    expected = expected_accuracies(results, typical)
    best = max(expected, key=lambda name: expected[name])
    for name, found in results.items():
        margin = min(_WORTH, gain(results[best], found).error)
        if expected[name] >= expected[best] - margin - _ROUNDING:
            return name
    return best


def choose(
    results: Mapping[str, RungResults],
    baseline: RungResults | None,
    typical: Mapping[str, float] = TYPICAL,
) -> str:
    """Return the rung to take, or the small model without the base.

    Args:
        results: As for :func:`choose_rung`.
        baseline: Of the small model, if it was measured.
        typical: As there.

    Returns:
        The name of what :func:`choose_rung` chooses of all; of the small model only if it was right
        more often than the best rung, as that is what will be said of it.
    """
    if baseline is not None:
        ahead = gain(baseline, results[best_rung(results)])
        everything = {**results, BASELINE: baseline}
        if ahead.mean > _ROUNDING and choose_rung(everything, typical) == BASELINE:
            return BASELINE
    return choose_rung(results, typical)


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
        The choice; its name is that of :func:`choose`, or the first where nothing is clearly better
        than naming one class for all images.
    """
    first, best = next(iter(results)), best_rung(results)
    everything = {**results, **({} if baseline is None else {BASELINE: baseline})}
    if sentence := _no_better_than_one_class(everything):
        return Choice(first, sentence)
    name = choose(results, baseline)
    if name == BASELINE and baseline is not None:
        return Choice(name, _for_the_small_model(baseline, results[best], titles[best]))
    found, over = results[name], gain(results[best], results[name])
    sentence = f"Take {titles[name]}: {np.mean(found.accuracies):.1%} of unseen images"
    if name == first:
        sentence += ", and nothing that costs more is expected to be a point better"
    else:
        sentence += f", {_points(gain(found, results[first]))} against {titles[first]}"
    if over.mean > 0:
        sentence += (
            f"; {titles[best]} has {_points(over)} more, but the choice goes by what is expected "
            f"of each: measured on {found.num_measured:,} images, the highest of several is partly "
            "so by luck"
        )
    reasons = [f"{sentence}.", _on_few(name, first, results, titles), _on_labels(curve)]
    return Choice(name, " ".join(filter(None, reasons)))


def _points(found: Gain) -> str:
    return f"{100 * found.mean:+.1f} ± {100 * found.error:.1f} points"


def _for_the_small_model(baseline: RungResults, best: RungResults, title: str) -> str:
    return (
        "A small task-specific model trained on these labels beats the base: use that. It is right "
        f"for {np.mean(baseline.accuracies):.1%} of unseen images, and the best rung ({title}) for "
        f"{np.mean(best.accuracies):.1%}."
    )


def _no_better_than_one_class(results: Mapping[str, RungResults]) -> str:
    """Return that nothing beats naming one class for all images; "" if something does."""
    best = results[best_rung(results)]
    counts = np.bincount(best.labels, weights=best.num_tests)
    share, accuracy = counts.max() / counts.sum(), float(np.mean(best.accuracies))
    error = np.sqrt(share * (1 - share) / best.num_measured)
    if accuracy - share > error:
        return ""
    return (
        f"Nothing that was tried is clearly better than naming one class for all images, which is "
        f"right for {share:.1%}; the best has {accuracy:.1%} of {best.num_measured:,} unseen "
        "images. Either these are too few images, or what the labels are about is not to be seen "
        "in them."
    )


def _on_few(
    name: str, first: str, results: Mapping[str, RungResults], titles: Mapping[str, str]
) -> str:
    """Return why a rung is taken whose gain is not measured; "" if it is."""
    more = gain(results[name], results[first])
    if name == first or more.mean > more.error:
        return ""
    reason = (
        f"The {results[name].num_measured:,} images that were measured on do not show that it is "
        "better"
    )
    if name not in TYPICAL:  # which is never tested as much
        return f"{reason}."
    typical = 100 * (TYPICAL[name] - TYPICAL[first])
    return (
        f"{reason}; where clipkit was tested it was, by {typical:.0f} points on average. With more "
        f"images to measure on, {titles[first]} is recommended where it is as good."
    )


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
