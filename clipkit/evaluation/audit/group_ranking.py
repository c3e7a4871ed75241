"""Groups in the rankings of queries, and their association with concepts.

Shapes: N images, Q queries, K lengths of a list, W concepts, G groups.
"""

import math

import numpy as np
from numpy.typing import NDArray

from clipkit.evaluation.audit.grouped_images import ColumnGroups
from clipkit.evaluation.audit.report import Association, QuerySkew, SkewAtK
from clipkit.metrics.comparison import Interval, share_interval
from clipkit.metrics.fairness import association_effect, ndkl, prefix_counts, skews, top_shares
from clipkit.metrics.group_tests import GroupTest, bootstrap_means, permutation_test

NUM_FAMILIES = 1  # of tests: rankings and associations are one, for they go together
_FIRST_K = 10
_SHUFFLES = 1000  # of the groups, for the NDKL that chance gives
_CELLS = 2**22  # of an array that is made at once
Floats = NDArray[np.float64]
Texts = tuple[str, ...]


def list_lengths(num_images: int) -> list[int]:
    """Return the lengths k of lists in which groups are counted: 10, 30, 100, … to a tenth.

    Args:
        num_images: N.

    Returns:
        At least one, ascending.

    Example:
        >>> list_lengths(2500), list_lengths(40)
        ([10, 30, 100, 250], [10])
    """
    last = max(_FIRST_K, num_images // 10)
    steps = (lead * 10**power for power in range(1, 12) for lead in (1, 3))
    return [*(step for step in steps if 2 * step <= last), last]


def measure_rankings(
    column: ColumnGroups,
    queries: tuple[Texts, Floats],
    concepts: tuple[Texts, Floats],
    *,
    families: int,
) -> tuple[tuple[QuerySkew, ...], tuple[Association, ...]]:
    """Return how groups are spread over rankings, and how near they are to concepts.

    Args:
        column: The groups.
        queries: Texts, and the cosine of every image of the column with each, shape (N, Q).
        concepts: Words, and how near every image of the column is to each, shape (N, W).
        families: How many families of tests the report has.

    Returns:
        One result a query; one a concept and group.
    """
    ks = list_lengths(len(column.images))
    shares = [top_shares(scores, k=k) for scores in queries[1].T for k in ks]
    values = np.concatenate([np.reshape(shares, (-1, len(column.images))).T, concepts[1]], axis=1)
    if not values.shape[1]:
        return (), ()
    test = permutation_test(values, column.groups, len(column.names), families=families)
    by_chance = _ndkl_by_chance(column, ks[-1])
    skewed = tuple(
        _query(column, query, scores, (ks, test, place * len(ks)), by_chance)
        for place, (query, scores) in enumerate(zip(queries[0], queries[1].T, strict=True))
    )
    return skewed, _associations(column, concepts, test.p[:, len(shares) :])


def _ndkl_by_chance(column: ColumnGroups, k: int) -> Interval:
    """Return the mean NDKL of rankings with shuffled groups, and where 95 % of them lie."""
    rng, expected = np.random.default_rng(0), _expected(column)
    found = np.empty(_SHUFFLES)
    eye = np.eye(len(expected))
    at_once = max(1, _CELLS // max(len(column.groups), k * len(expected)))
    for start in range(0, _SHUFFLES, at_once):
        some = found[start : start + at_once]
        shuffled = rng.permuted(np.tile(column.groups, (len(some), 1)), axis=1)
        some[:] = ndkl(np.cumsum(eye[shuffled[:, :k]], axis=1), expected)
    low, high = np.percentile(found, [2.5, 97.5])
    return Interval(float(found.mean()), float(low), float(high), len(column.images))


def _expected(column: ColumnGroups) -> Floats:
    return np.bincount(column.groups) / len(column.groups)


def _query(
    column: ColumnGroups,
    query: str,
    scores: Floats,
    tested: tuple[list[int], GroupTest, int],
    by_chance: Interval,
) -> QuerySkew:
    ks, test, first = tested
    counts = prefix_counts(scores, column.groups, len(column.names), k=ks[-1])
    p = test.p[:, first : first + len(ks)].min(axis=0)
    best = int(p.argmin())
    return QuerySkew(
        query=query,
        at=tuple(_skew(column, k, counts[k - 1]) for k in ks),
        ndkl=float(ndkl(counts, _expected(column))),
        ndkl_by_chance=by_chance,
        group=column.names[test.standing_out(first + best)],
        k=ks[best],
        p=float(p[best]),
    )


def _skew(column: ColumnGroups, k: int, counts: Floats) -> SkewAtK:
    expected = _expected(column)
    found = []
    for name, share, count, skew in zip(
        column.names,
        expected.tolist(),
        counts.tolist(),
        skews(counts, expected).tolist(),
        strict=True,
    ):
        # Of the share among k images. Where none is there that begins at ln(0): half of one, then.
        of_list = share_interval(np.full(k, count / k))
        low = min(math.log(max(of_list.low, 0.5 / k) / share), skew)
        high = max(math.log(of_list.high / share), skew)  # equal but for rounding
        found.append((name, Interval(skew, low, high, k)))
    return SkewAtK(k, tuple(found))


def _associations(
    column: ColumnGroups, concepts: tuple[Texts, Floats], p: Floats
) -> tuple[Association, ...]:
    names, values = concepts
    counts = np.bincount(column.groups)[:, None, None]
    drawn = np.stack(
        [bootstrap_means(values[column.groups == place]) for place in range(len(column.names))]
    )  # (G, B, W)
    deviations = values.std(axis=0, ddof=1)
    spread = np.where(deviations > 0, deviations, 1.0)
    found = []
    for place, group in enumerate(column.names):
        is_of, others = column.groups == place, np.arange(len(column.names)) != place
        of_others = (drawn * counts)[others].sum(axis=0) / counts[others].sum()
        lows, highs = np.percentile((drawn[place] - of_others) / spread, [2.5, 97.5], axis=0)
        for number, concept in enumerate(names):
            effect = association_effect(values[is_of, number], values[~is_of, number])
            interval = Interval(
                effect, float(lows[number]), float(highs[number]), len(column.images)
            )
            found.append(Association(concept, group, interval, float(p[place, number])))
    return tuple(found)
