"""How improbable what was seen is if there is nothing to it, and the correction for many tests.

Shapes: M values, of images, captions or queries.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FLIPS_AT_ONCE = 2**22  # signs held at once: 32 MB


def sign_flip_probability(
    differences: NDArray[np.float64], groups: NDArray[np.integer[Any]], *, draws: int = 10_000
) -> float:
    """Return how probable a mean as far from 0 is if each difference could as well be its opposite.

    This is the paired permutation test: two models that are equally good would have given either
    model's answer to an image as probably as the other's.

    Args:
        differences: Of two measurements of the same images, shape (M,).
        groups: Of each the number of what it belongs to, shape (M,), 0 or more: their signs flip
            together.
        draws: How many flips are drawn where there are too many to try all; the same every time.

    Returns:
        0..1, two-sided. Exact for up to 13 images that differ; else at least 1 / (draws + 1).

    Example:
        >>> sign_flip_probability(np.array([1.0, 1.0, 0.0, 1.0]), np.arange(4))
        0.25

    Source:
        Fisher 1935, "The Design of Experiments", section 21; Phipson & Smyth 2010 (arXiv
        1603.05766) for counting what was seen among the draws.
    """
    number = np.unique(groups, return_inverse=True)[1]
    sums = np.bincount(number, weights=differences)
    sums = sums[sums != 0]
    seen = abs(sums.sum()) * (1 - 1e-9)  # the same sum may be rounded otherwise
    if 2 ** len(sums) <= draws:
        flips = 1.0 - 2 * (np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums)) & 1)
        return float(np.mean(abs(flips @ sums) >= seen))
    rng = np.random.default_rng(0)
    as_far, left = 1, draws
    while left:
        size = min(left, max(1, _FLIPS_AT_ONCE // len(sums)))
        flips = rng.choice((-1.0, 1.0), size=(size, len(sums)))
        as_far += int(np.count_nonzero(abs(flips @ sums) >= seen))
        left -= size
    return as_far / (draws + 1)


def holm(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p-values corrected for their number, so that one false alarm at all is as improbable.

    Args:
        probabilities: p-values of different tests, shape (K,), 0..1.

    Returns:
        Shape (K,), none smaller than it was.

    Example:
        >>> holm(np.array([0.01, 0.5, 0.02])).tolist()
        [0.03, 0.5, 0.04]

    Source:
        Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    order = np.argsort(probabilities, kind="stable")
    steps = probabilities[order] * (len(order) - np.arange(len(order)))
    corrected = np.empty_like(steps)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return corrected


def chance_of_as_many(right: int, count: int, chance: float) -> float:
    """Return how probable at least so many right answers are by guessing.

    Args:
        right: Right answers.
        count: All answers, at least 1.
        chance: That a guess is right, 0..1 without its ends.

    Returns:
        0..1, of the binomial distribution.

    Example:
        >>> round(chance_of_as_many(2, 2, 0.5), 6)
        0.25
    """
    logs = [
        math.lgamma(count + 1)
        - math.lgamma(number + 1)
        - math.lgamma(count - number + 1)
        + number * math.log(chance)
        + (count - number) * math.log1p(-chance)
        for number in range(right, count + 1)
    ]
    return min(1.0, math.fsum(map(math.exp, logs)))
