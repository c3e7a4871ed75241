"""Complete-link clustering of near-duplicate pairs.

Groups joined by chains ("a is like b, b is like c") grow until they hold images that are not
similar; with complete link every two members are a pair.

Shapes: N images, E pairs of them.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_TOGETHER = 4096
"""Images that are clustered at once, so that their square matrix takes 64 MB."""


class Pairs(NamedTuple):
    """Pairs of similar images, by number; each pair once, none of an image with itself."""

    first: NDArray[np.intp]  # (E,)
    second: NDArray[np.intp]  # (E,)
    similarity: NDArray[np.float32]  # (E,)


class LinkedGroup(NamedTuple):
    """Images of which every two are a pair."""

    members: list[int]  # at least two, ascending
    similarity: float  # of the least similar pair


def complete_link(num_images: int, pairs: Pairs) -> list[LinkedGroup]:
    """Return groups of which every two members are a pair.

    Each image begins as a group of its own. The two groups are merged whose least similar
    members are most similar, again and again, until no merging is left that would keep every two
    members a pair. Among equals the earliest image goes first: images in a fixed order give the
    same groups in whatever order the pairs come.

    The images of a connected component of pairs are clustered at once if they are at most
    `MAX_TOGETHER`, else in runs of so many, in their order.

    Args:
        num_images: N.
        pairs: All pairs that may be in one group.

    Returns:
        The groups, in the order of their first images.
    """
    groups = [
        group for images, matrix in _matrices(num_images, pairs) for group in _link(images, matrix)
    ]
    return sorted(groups)


def _link(images: NDArray[np.intp], similarities: NDArray[np.float32]) -> Iterator[LinkedGroup]:
    """Yield the groups of some images; their matrix (minus infinity: no pair) is overwritten."""
    members = [[image] for image in images.tolist()]
    weakest = [np.inf] * len(members)
    best = similarities.max(axis=1)  # of each group, to any other
    while best.max() > -np.inf:
        keeper = int(best.argmax())
        joined = int(similarities[keeper].argmax())
        members[keeper] += members[joined]
        members[joined] = []
        weakest[keeper] = float(best[keeper])  # with complete link, merges never become tighter
        stale = (best == similarities[:, keeper]) | (best == similarities[:, joined])
        row = np.minimum(similarities[keeper], similarities[joined])
        row[keeper] = -np.inf
        similarities[joined] = similarities[:, joined] = -np.inf
        similarities[keeper] = similarities[:, keeper] = row
        best[joined] = -np.inf
        best[keeper] = row.max()
        fallen = np.flatnonzero(stale & (best > -np.inf))
        best[fallen] = similarities[fallen].max(axis=1)
    for group, similarity in zip(members, weakest, strict=True):
        if group[1:]:
            yield LinkedGroup(sorted(group), similarity)


def _matrices(
    num_images: int, pairs: Pairs
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
    """Yield connected images, ascending, with the square matrix of their similarities."""
    run = _runs(_components(num_images, pairs))
    inside = np.flatnonzero(run[pairs.first] == run[pairs.second])
    inside = inside[np.argsort(run[pairs.first[inside]], kind="stable")]
    borders = np.flatnonzero(np.diff(run[pairs.first[inside]])) + 1
    for edges in np.split(inside, borders):
        first, second = pairs.first[edges], pairs.second[edges]
        images, positions = np.unique(np.concatenate([first, second]), return_inverse=True)
        left, right = positions[: len(edges)], positions[len(edges) :]
        matrix = np.full((len(images), len(images)), -np.inf, dtype=np.float32)
        matrix[left, right] = matrix[right, left] = pairs.similarity[edges]
        if len(images):
            yield images, matrix


def _components(num_images: int, pairs: Pairs) -> NDArray[np.intp]:
    """Return for each image the first one of its connected component, shape (N,)."""
    labels = np.arange(num_images)
    while True:
        lowest = np.minimum(labels[pairs.first], labels[pairs.second])
        spread = labels.copy()
        np.minimum.at(spread, pairs.first, lowest)
        np.minimum.at(spread, pairs.second, lowest)
        spread = spread[spread]  # a label's own label: chains shorten by half
        if np.array_equal(spread, labels):
            return labels
        labels = spread


def _runs(labels: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return a number that is equal for images of one component and one run in it, shape (N,)."""
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    rank = np.arange(len(labels)) - np.searchsorted(ordered, ordered)
    run = np.empty_like(labels)
    run[order] = ordered * (len(labels) // MAX_TOGETHER + 1) + rank // MAX_TOGETHER
    return run
