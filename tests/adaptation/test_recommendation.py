"""Which rung is recommended, and in what words."""

from collections.abc import Sequence

import numpy as np
import pytest

from clipkit.adaptation.recommendation import (
    best_rung,
    choose,
    choose_rung,
    class_needs,
    expected_accuracies,
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


def test_over_few_images_rungs_are_drawn_towards_what_is_typical_of_them() -> None:
    # Heads: .95 and .85, of which both lie .02 above the mean of heads, so that this is .88.
    found = {"prompt": right(20), "gda": right(38), "probe": right(34)}
    expected = expected_accuracies(found)
    assert expected["prompt"] == pytest.approx((40 * 0.5 + 6 * (0.88 - 0.16)) / 46)
    assert expected["gda"] == pytest.approx((40 * 0.95 + 60 * 0.9) / 100)
    assert expected["probe"] == pytest.approx((40 * 0.85 + 60 * 0.9) / 100)
    unknown = expected_accuracies({"gda": right(38), "lora": right(34)})  # levels .93 and .85
    assert unknown["lora"] == pytest.approx((40 * 0.85 + 60 * 0.89) / 100)
    assert expected_accuracies(results(right(20), right(30))) == {"prompt": 0.5, "prompts": 0.75}


def test_the_cheapest_rung_that_is_expected_to_be_as_good_as_the_best_is_chosen() -> None:
    # The prompts are expected to be right for (40 * 32 / 40 + 6 * (.755 - .17)) / 46 = .772, and
    # the probe for .775.
    found = results(right(20), right(32), right(31, wrong_first=3))
    assert best_rung(found) == "prompts"
    assert choose_rung(found) == "prompts"
    # For (40 * 31 / 40 + 6 * .585) / 46 = .750: more than a point less.
    found = results(right(20), right(31), right(31, wrong_first=3))
    assert choose_rung(found) == "probe"
    # Answers that differ in no image differ by nothing that could be noise.
    assert choose_rung(results(right(30), right(30), right(30))) == "probe"
    assert choose_rung(results(right(40), right(30), right(30))) == "prompt"
    assert choose_rung(results(right(20), right(20))) == "prompt"


def test_the_reason_is_said_in_figures() -> None:
    found = results(right(20), right(32), right(31, wrong_first=3))
    choice = recommend(found, TITLES, None, ())
    assert choice.name == "prompts"
    assert (
        choice.sentence
        == "Take prompt ensemble: 80.0% of unseen images, +30.0 ± 7.3 points against one prompt."
    )
    # Levels .855 and .9, of which the mean is .8775: GDA is expected to be right for (40 * .875 +
    # 60 * .8975) / 100 = .8885, and the adapter for (40 * .9 + 60 * .8775) / 100 = .8865.
    two = {"prompt": right(20), "gda": right(35), "adapter": right(36, wrong_first=3)}
    choice = recommend(two, {**TITLES, "gda": "GDA", "adapter": "an adapter"}, None, ())
    assert choice.name == "gda"
    assert (
        "; an adapter has +2.5 ± 6.7 points more, but the choice goes by what is" in choice.sentence
    )
    assert "measured on 40 images, the highest of several is partly so by luck" in choice.sentence
    choice = recommend(results(right(38), right(38), right(38)), TITLES, None, ())
    assert choice.sentence == (
        "Take the probe: 95.0% of unseen images, +0.0 ± 0.0 points against one prompt. The 40 "
        "images that were measured on do not show that it is better; where clipkit was tested it "
        "was, by 18 points on average. With more images to measure on, one prompt is recommended "
        "where it is as good."
    )
    lora = recommend(
        {"prompt": right(30), "lora": right(31, wrong_first=3)}, TITLES | {"lora": "LoRA"}, None, ()
    )
    assert lora.sentence.endswith("were measured on do not show that it is better.")
    choice = recommend(results(right(40), right(36), right(36)), TITLES, None, ())
    assert "and nothing that costs more is expected to be a point better." in choice.sentence


def test_a_small_model_that_beats_the_base_is_said_to() -> None:
    found = results(right(24), right(30))
    choice = recommend(found, TITLES, right(38), ())
    assert choice.name == "pixels"
    assert choice.sentence == (
        "A small task-specific model trained on these labels beats the base: use that. It is right "
        "for 95.0% of unseen images, and the best rung (prompt ensemble) for 75.0%."
    )
    assert recommend(found, TITLES, right(30), ()).name == "prompts"  # as often as the best rung
    heads = {"prompt": right(24), "tip-adapter": right(24)}
    assert choose(heads, right(24)) == "tip-adapter"


def test_what_is_no_better_than_naming_one_class_is_said_to_be() -> None:
    found = results(right(15), right(20), right(22))  # of two classes with 20 images each
    choice = recommend(found, TITLES, right(23), ())
    assert choice.name == "prompt"
    assert choice.sentence.startswith(
        "Nothing that was tried is clearly better than naming one class for all images, which is "
        "right for 50.0%; the best has 57.5% of 40 unseen images."
    )
    assert recommend(found, TITLES, right(24), ()).name == "pixels"


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
