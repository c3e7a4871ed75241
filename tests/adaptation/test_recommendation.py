"""Which rung is recommended, and in what words."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from clipkit.adaptation.recommendation import (
    best_rung,
    choose_rung,
    class_needs,
    recommend,
    remembering,
)
from clipkit.adaptation.report import CurvePoint
from clipkit.adaptation.results import RungResults
from tests.adaptation.made_results import made_results

LABELS = [0, 1] * 20
TEST = [list(range(40))]
TITLES = {"prompt": "one prompt", "prompts": "prompt ensemble", "probe": "the probe"}


def right(count: int, *, wrong_first: int = 0) -> RungResults:
    """Return a rung that is right about so many of forty images, wrong about the first ones."""
    answers = [0] * wrong_first + [1] * count
    return made_results([answers + [0] * (40 - len(answers))], LABELS, TEST)


def results(*found: RungResults) -> dict[str, RungResults]:
    return dict(zip(TITLES, found, strict=False))


def test_the_cheapest_rung_within_noise_of_the_best_is_chosen() -> None:
    # One image more of forty, but seven others differ: half a standard error is 3.4 points, and
    # .04 of log probability, of which .03 more is known.
    found = results(right(20), right(30), right(31, wrong_first=3))
    assert best_rung(found) == "probe"
    assert choose_rung(found) == "prompts"
    # Of the same images one more: half a standard error is 1.3 points.
    assert choose_rung(results(right(20), right(30), right(31))) == "probe"
    assert choose_rung(results(right(30), right(30), right(30))) == "prompt"
    # Wrong more often than by chance: at the best temperature as much is known as by chance.
    assert choose_rung(results(right(10), right(20))) == "prompts"


def test_of_rungs_that_are_right_alike_the_surer_one_is_better() -> None:
    # Right about the same 36 of 40, one of them sure of its right answers and not of the others.
    plain = right(36)
    logits = plain.measured[0].logits.copy()
    logits[:36] *= 2
    surer = replace(plain, measured=(replace(plain.measured[0], logits=logits),))
    assert choose_rung(results(plain, surer)) == "prompts"
    assert choose_rung(results(surer, plain)) == "prompt"


def test_the_reason_is_said_in_figures() -> None:
    choice = recommend(results(right(20), right(30), right(31, wrong_first=3)), TITLES, None, ())
    assert choice.name == "prompts"
    assert choice.sentence.startswith("Take prompt ensemble: 75.0% of unseen images, +25.0 ± 6.9 ")
    assert "; the probe has +2.5 ± 6.7 more, but the choice goes by the prob" in choice.sentence
    choice = recommend(results(right(20), right(20), right(36)), TITLES, None, ())
    assert choice.sentence.endswith("points against one prompt.")
    choice = recommend(results(right(36), right(36), right(36)), TITLES, None, ())
    assert "and these show nothing that costs more to be better." in choice.sentence


def test_a_small_model_that_beats_the_base_is_said_to() -> None:
    found = results(right(10), right(20))
    choice = recommend(found, TITLES, right(38), ())
    assert choice.name == "pixels"
    assert "beats the base: use that" in choice.sentence
    assert (
        "95.0% of unseen images, and the best rung (prompt ensemble) for 50.0%" in choice.sentence
    )
    assert recommend(found, TITLES, right(20), ()).name == "prompts"


def curve(*accuracies: float) -> Sequence[CurvePoint]:
    return [
        CurvePoint(2**power, 10 * 2**power, accuracy, 0.01)
        for power, accuracy in enumerate(accuracies)
    ]


def test_more_labels_are_advised_while_the_curve_rises() -> None:
    found = results(right(20), right(30))
    rising = recommend(found, TITLES, None, curve(0.5, 0.6, 0.7)).sentence
    assert "More labels would help: from 20 to 40 images it rose by 10.0 points" in rising
    # Errors of .5, .4 and .3 lie about a line over the logarithm of images that ends at .232.
    assert rising.endswith("and with 80 it would come to about 77% if that goes on.")
    two = recommend(found, TITLES, None, curve(0.6, 0.7)).sentence
    assert two.endswith("from 10 to 20 images it rose by 10.0 points.")
    assert "More labels" not in recommend(found, TITLES, None, curve(0.5, 0.7, 0.7)).sentence
    assert "More labels" not in recommend(found, TITLES, None, curve(0.5)).sentence


def test_classes_that_are_wrong_most_often_need_labels_first() -> None:
    found = made_results([[1, 0] * 20], LABELS, TEST)
    (need,) = class_needs(found, np.array(LABELS), ["cat", "dog"])
    assert (need.name, need.count, need.accuracy) == ("dog", 20, 0.0)
    assert class_needs(right(40), np.array(LABELS), ["cat", "dog"]) == ()


def test_a_rung_that_forgets_is_left_out() -> None:
    def knowing(count: int) -> RungResults:
        """Return a rung that is right about all its images and about some of ten other things."""
        others = [True] * count + [False] * (10 - count)
        return made_results([[1] * 40], LABELS, TEST, retention=others)

    # Of ten right names one has .1 instead of .9: .08 less probable on average.
    found = results(knowing(10), knowing(9), knowing(10))
    assert [*remembering(found, 0.02)] == ["prompt", "probe"]
    assert [*remembering(found, 0.081)] == ["prompt", "prompts", "probe"]
    assert [*remembering(results(knowing(5), knowing(9)), 0.02)] == ["prompt", "prompts"]
    assert [*remembering(results(right(20), knowing(9)), 0.02)] == ["prompt", "prompts"]
