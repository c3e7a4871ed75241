"""Which unlabelled images to label next: those that tell the most about all that is in doubt.

If a Gaussian process on the embeddings predicted the classes, how unsure each of its predictions is
would depend on which images are labelled, and not on their labels. Those are taken in turn that,
once labelled, leave the least variance over all unlabelled images, where images count the more the
less sure the classifier is of them. So no two of them are alike, none is like a labelled one, none
is an oddity that is like nothing else, and few are of what is known.

Shapes: M unlabelled images, N labelled ones, L images to label, C classes, D dimensions.

Source:
    Yu, Bi and Tresp 2006, "Active Learning via Transductive Experimental Design" (ICML): its
    sequential form, with the kernel below. That labelled images count as taken, and the weights,
    are our own.
"""

import numpy as np
from numpy.typing import NDArray

from clipkit.adaptation.images import COPY
from clipkit.embeddings import Embeddings
from clipkit.search.modality_gap import center_rows

MOST_COMPARED = 4096  # unlabelled images: a matrix of 64 MB
# Fitted on images of digits, stamps and CIFAR-10 (benchmarks/active_labelling.py --fit), where half
# and twice as much, and a third and three times, were about as good.
_REACH = 1.0  # how far from an image, in cosine, what its label tells has fallen to 1/e
_NOISE = 0.1  # variance of a label; without any a prediction has 1


def doubt(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how unsure a classifier is of each image.

    Args:
        probabilities: Of the classes, shape (M, C), each row of sum 1.

    Returns:
        The variance of its class, from 0 to 1 - 1/C, shape (M,): the probability that two guesses
        differ, each drawn by these probabilities.

    Example:
        >>> doubt(np.array([[1.0, 0.0], [0.5, 0.5]])).tolist()
        [0.0, 0.5]
    """
    variance: NDArray[np.float64] = 1 - (probabilities**2).sum(axis=1)
    return variance


def choose_next(
    embeddings: Embeddings, weights: NDArray[np.float64], labelled: Embeddings, count: int
) -> NDArray[np.intp]:
    """Return rows of the unlabelled images to label next, best first.

    Args:
        embeddings: Of the unlabelled images, shape (M, D), rows of norm 1. MOST_COMPARED of more
            are drawn at random, with a fixed seed.
        weights: How much it matters to be sure of each, as :func:`doubt` gives it, shape (M,).
        labelled: Embeddings of the labelled images, shape (N, D); may be empty.
        count: How many to return, at most.

    Returns:
        Rows, shape (L,); fewer than count if all others are copies of these.
    """
    compared = np.arange(len(embeddings))
    if len(embeddings) > MOST_COMPARED:
        drawn = np.random.default_rng(0).permutation(len(embeddings))
        compared = np.sort(drawn[: max(MOST_COMPARED, count)])
    rows = embeddings[compared]
    shares = weights[compared].astype(np.float32)
    covariance = _covariance(rows, labelled)
    is_open = np.ones(len(rows), dtype=bool)
    chosen: list[int] = []
    while len(chosen) < count and is_open.any():
        # How much of the variance of all a label of each would take.
        reductions = shares @ covariance**2 / (covariance.diagonal() + _NOISE)
        best = int(np.where(is_open, reductions, -np.inf).argmax())
        chosen.append(best)
        is_open &= rows @ rows[best] <= 1 - COPY
        is_open[best] = False
        told = covariance[best] / np.sqrt(covariance[best, best] + _NOISE)
        covariance -= np.outer(told, told)
    return compared[chosen]


def _covariance(rows: Embeddings, labelled: Embeddings) -> NDArray[np.float32]:
    """Return the covariance of predictions for rows once the labelled images are known, (M, M)."""
    center = np.concatenate([rows, labelled]).mean(axis=0)
    rows, known = center_rows(rows, center), center_rows(labelled, center)
    covariance = _kernel(rows, rows)
    across = _kernel(known, rows).astype(np.float64)
    noisy = _kernel(known, known) + _NOISE * np.eye(len(known))
    covariance -= (across.T @ np.linalg.solve(noisy, across)).astype(np.float32)
    return covariance


def _kernel(rows: Embeddings, others: Embeddings) -> NDArray[np.float32]:
    """Return how much a label of each row tells about each other: exp((cosine - 1) / reach)."""
    told: NDArray[np.float32] = np.exp((rows @ others.T - 1) / _REACH)
    return told


def is_copy(embeddings: Embeddings, labelled: Embeddings) -> NDArray[np.bool_]:
    """Return which images are to the model the same as labelled ones, so that no label tells more.

    Args:
        embeddings: Shape (M, D), rows of norm 1.
        labelled: Shape (N, D); may be empty.

    Returns:
        Shape (M,).
    """
    return _nearest(embeddings, labelled)[1] > 1 - COPY


def count_like(
    embeddings: Embeddings, labelled: Embeddings, chosen: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Return how many unlabelled images are more like each chosen one than like any other.

    Args:
        embeddings: Of the unlabelled images, shape (M, D), rows of norm 1.
        labelled: Shape (N, D); may be empty. Images that are more like one of these count nowhere.
        chosen: Rows of the unlabelled images, shape (L,), none twice.

    Returns:
        Shape (L,); a chosen image counts itself.
    """
    others = np.delete(np.arange(len(embeddings)), chosen)
    nearest, _ = _nearest(embeddings[others], np.concatenate([embeddings[chosen], labelled]))
    return 1 + np.bincount(nearest, minlength=len(chosen) + len(labelled))[: len(chosen)]


def _nearest(
    embeddings: Embeddings, others: Embeddings
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the row of others that is most like each embedding, and their cosine, (M,) each.

    Without any others that is row 0, at a cosine of -1.
    """
    places = np.zeros(len(embeddings), dtype=np.intp)
    highest = np.full(len(embeddings), -1, dtype=np.float32)
    for start in range(0, len(embeddings) if len(others) else 0, MOST_COMPARED):
        part = slice(start, start + MOST_COMPARED)
        cosines = embeddings[part] @ others.T
        places[part], highest[part] = cosines.argmax(axis=1), cosines.max(axis=1)
    return places, highest
