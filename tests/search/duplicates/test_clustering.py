"""Complete link against scipy's, and against the rule itself spelled out slowly."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage  # type: ignore[import-untyped]
from scipy.spatial.distance import squareform  # type: ignore[import-untyped]

from clipkit.search.duplicates import clustering
from clipkit.search.duplicates.clustering import LinkedGroup, Pairs, complete_link

Matrix = NDArray[np.float32]


def _pairs(similarities: Matrix, threshold: float) -> Pairs:
    first, second = np.nonzero(np.triu(similarities >= threshold, k=1))
    return Pairs(first, second, similarities[first, second])


def _by_the_rule(similarities: Matrix, threshold: float) -> list[list[int]]:
    """Merge, as long as it is allowed, the two groups with the most similar least similar pair."""
    groups = [[thing] for thing in range(len(similarities))]
    while True:
        options = [
            (-min(float(similarities[i, j]) for i in a for j in b), min(a), min(b), a, b)
            for a, b in itertools.combinations(groups, 2)
        ]
        best = min(options, default=None)
        if best is None or -best[0] < threshold:
            return sorted(sorted(group) for group in groups if len(group) > 1)
        groups = [group for group in groups if group not in best[3:]] + [best[3] + best[4]]
        groups.sort(key=min)


def _members(groups: list[LinkedGroup]) -> list[list[int]]:
    return [group.members for group in groups]


@st.composite
def similarity_matrices(draw: st.DrawFn, *, levels: int) -> Matrix:
    """Symmetric matrices of multiples of 1 / levels; few levels make many ties."""
    number = draw(st.integers(2, 12))
    places = np.triu_indices(number, k=1)
    values = draw(
        st.lists(st.integers(0, levels), min_size=len(places[0]), max_size=len(places[0]))
    )
    matrix = np.zeros((number, number), dtype=np.float32)
    matrix[places] = np.array(values, dtype=np.float32) / levels
    matrix += matrix.T
    return matrix


@given(similarity_matrices(levels=3), st.sampled_from([0.3, 0.5, 1.0]))
def test_groups_are_those_of_the_rule_also_with_ties(matrix: Matrix, threshold: float) -> None:
    groups = complete_link(len(matrix), _pairs(matrix, threshold))
    assert _members(groups) == _by_the_rule(matrix, threshold)


@given(similarity_matrices(levels=3))
def test_every_two_members_are_a_pair_and_the_weakest_is_told(matrix: Matrix) -> None:
    for group in complete_link(len(matrix), _pairs(matrix, 0.5)):
        inside = [float(matrix[i, j]) for i, j in itertools.combinations(group.members, 2)]
        assert min(inside) == group.similarity >= 0.5


@pytest.mark.slow
@given(similarity_matrices(levels=3), st.randoms(use_true_random=False))
def test_the_order_of_the_pairs_does_not_matter(matrix: Matrix, random: object) -> None:
    pairs = _pairs(matrix, 0.3)
    order = list(range(len(pairs.first)))
    random.shuffle(order)  # type: ignore[attr-defined]
    swapped = [place for place in order if place % 2]
    first, second = pairs.first.copy(), pairs.second.copy()
    first[swapped], second[swapped] = pairs.second[swapped], pairs.first[swapped]
    shuffled = Pairs(first[order], second[order], pairs.similarity[order])
    assert complete_link(len(matrix), shuffled) == complete_link(len(matrix), pairs)


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = np.repeat(rng.standard_normal((40, 8)), 5, axis=0) + 0.4 * rng.standard_normal((200, 8))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    matrix = (rows @ rows.T).astype(np.float32)
    np.fill_diagonal(matrix, 1)
    distances = squareform(1 - matrix.astype(np.float64), checks=False)
    labels = fcluster(linkage(distances, "complete"), 1 - 0.8, "distance")
    expected = sorted(
        members.tolist()
        for label in set(labels)
        if len(members := np.flatnonzero(labels == label)) > 1
    )
    assert len(expected) > 20
    assert _members(complete_link(len(matrix), _pairs(matrix, 0.8))) == expected


def test_a_chain_does_not_grow() -> None:
    # 0-1-2-3, each like the next only; the strongest link is in the middle.
    pairs = Pairs(
        np.array([0, 1, 2]), np.array([1, 2, 3]), np.array([0.8, 0.9, 0.8], dtype=np.float32)
    )
    assert complete_link(4, pairs) == [LinkedGroup([1, 2], float(np.float32(0.9)))]


def test_no_pairs_are_no_groups() -> None:
    nothing = np.empty(0, dtype=np.intp)
    assert complete_link(3, Pairs(nothing, nothing, np.empty(0, dtype=np.float32))) == []
    assert complete_link(0, Pairs(nothing, nothing, np.empty(0, dtype=np.float32))) == []


def test_what_is_too_much_at_once_is_grouped_in_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "MAX_TOGETHER", 4)
    # Things 0 and 11 apart, every two of 1 to 10 alike; then 12 and 13, a component of their own.
    matrix = np.zeros((14, 14), dtype=np.float32)
    matrix[1:11, 1:11] = 0.9
    matrix[12, 13] = matrix[13, 12] = 0.7
    groups = complete_link(14, _pairs(matrix, 0.5))
    assert _members(groups) == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10], [12, 13]]
