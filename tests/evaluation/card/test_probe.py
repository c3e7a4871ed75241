"""Probes are balanced, or refused."""

import pytest

from clipkit.errors import InputError
from clipkit.evaluation.card.probe import Probe, Trial
from clipkit.inputs.scene import Scene


def trial(value: int, prompts: tuple[str, ...] = ("a cat", "a dog"), group: int = 0) -> Trial:
    return Trial(Scene(()), "something", group, value, prompts)


def probe(*trials: Trial, groups: tuple[tuple[str, ...], ...] = (("cat", "dog"),)) -> Probe:
    return Probe("animals", "tell cats from dogs", "takes cats for dogs", groups, trials)


def test_prompts_that_are_right_equally_often_make_a_probe() -> None:
    other = ("one cat", "one dog")
    found = probe(trial(0), trial(1), trial(1, other), trial(0, other))
    assert found.prompts == [("a cat", "a dog"), other]


@pytest.mark.parametrize(
    "trials",
    [
        (trial(0), trial(0), trial(1)),
        # Equal over both sets of prompts, but in each of them one is right more often.
        (trial(0), trial(1, ("one cat", "one dog"))),
        (trial(0, ("a cat",)), trial(1, ("a cat",))),
        (trial(0, ("a cat", "a cat")), trial(1, ("a cat", "a cat"))),
    ],
)
def test_a_prompt_that_is_right_more_often_or_twice_there_is_refused(
    trials: tuple[Trial, ...],
) -> None:
    with pytest.raises(InputError, match="animals is not balanced"):
        probe(*trials)
