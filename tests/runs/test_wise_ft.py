"""Which mixture of start and end is taken, by examples."""

import pytest

from clipkit.runs.validation import TRIPWIRE
from clipkit.runs.wise_ft import ALPHAS, Mixture, choose_mixture
from clipkit.training.loop import Validation


def mixtures(scores: list[float | None], tripwire: list[float] | None = None) -> list[Mixture]:
    """Return mixtures at equal distances with these scores, and accuracies on a reference set."""
    return [
        Mixture(
            number / (len(scores) - 1),
            Validation(score, {} if tripwire is None else {TRIPWIRE: tripwire[number]}),
        )
        for number, score in enumerate(scores)
    ]


def test_the_ends_and_four_between_are_measured() -> None:
    assert ALPHAS[0] == 0 and ALPHAS[-1] == 1 and len(ALPHAS) == 6


@pytest.mark.parametrize(
    ("scores", "tripwire", "max_forgetting", "alpha"),
    [
        ([0.1, 0.5, 0.3], None, 0.0, 0.5),  # the best
        ([0.1, 0.3, 0.3], None, 0.0, 0.5),  # of equal ones that nearest to the start
        ([0.3, 0.3, 0.3], None, 0.0, 0.0),
        ([0.1, 0.2, 0.3], [0.9, 0.9, 0.9], 0.0, 1.0),
        ([0.1, 0.2, 0.3], [0.9, 0.88, 0.8], 0.02, 0.5),  # 0.9 - 0.88 is 0.02 and a rounding
        ([0.1, 0.2, 0.3], [0.9, 0.8, 0.88], 0.02, 1.0),
        ([0.1, 0.2, 0.3], [0.9, 0.8, 0.7], 0.02, 0.0),  # none but the start itself
        ([0.1, 0.2, 0.3], [0.9, 0.8, 0.7], 1.0, 1.0),
        ([0.1, 0.2, 0.3], [0.5, 0.9, 0.6], 0.0, 1.0),  # more than the start can do is no loss
        ([0.1, 0.2, 0.3], [0.0, 0.0, 0.0], 0.0, 1.0),
        ([0.1, 0.2, 0.3], [43 / 45, 42 / 45, 41 / 45], 1 / 45, 0.5),
    ],
)
def test_the_best_that_has_not_forgotten_too_much(
    scores: list[float | None], tripwire: list[float] | None, max_forgetting: float, alpha: float
) -> None:
    assert choose_mixture(mixtures(scores, tripwire), max_forgetting=max_forgetting).alpha == alpha


@pytest.mark.parametrize(
    ("tripwire", "alpha"),
    [(None, 1.0), ([0.9, 0.9, 0.9], 1.0), ([0.9, 0.89, 0.5], 0.5), ([0.9, 0.5, 0.6], 0.0)],
)
def test_without_scores_the_most_that_has_not_forgotten_too_much(
    tripwire: list[float] | None, alpha: float
) -> None:
    found = choose_mixture(mixtures([None, None, None], tripwire), max_forgetting=0.02)
    assert found.alpha == alpha
