"""Classification metrics: top-k accuracy, mean accuracy per class, log probability of the label.

Shapes: N images, C classes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.errors import InputError
from clipkit.metrics.retrieval import check_k, hit_ranks, share_within


def top_k_accuracy(
    scores: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]], *, k: int
) -> float:
    """Return the share of images whose right class is among the k of highest score.

    Args:
        scores: Of image n for class c, shape (N, C). Higher is likelier.
        labels: The right class of each image, shape (N,), in 0..C-1.
        k: How many classes may be guessed, 1 <= k <= C. Ties go to the lower class number.

    Returns:
        A fraction in [0, 1].

    Raises:
        InputError: If the shapes do not fit, or a label or k is out of range.

    Example:
        >>> top_k_accuracy(np.array([[0.7, 0.3], [0.6, 0.4]]), np.array([0, 1]), k=1)
        0.5
    """
    ranks = label_ranks(scores, labels)
    check_k(k, scores.shape[1], "classes")
    return share_within(ranks, k=k)


def label_ranks(
    scores: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]
) -> NDArray[np.intp]:
    """Return how many classes are ranked before each image's right one.

    Args:
        scores: Of image n for class c, shape (N, C). Higher is likelier.
        labels: The right class of each image, shape (N,), in 0..C-1.

    Returns:
        Shape (N,), in 0..C-1; 0 is best. Ties as in `hit_ranks`.

    Raises:
        InputError: If the shapes do not fit or a label is out of range.
    """
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise InputError(
            f"scores must have shape (N, C) and labels (N,), got {scores.shape} and {labels.shape}"
        )
    num_classes = scores.shape[1]
    if ((labels < 0) | (labels >= num_classes)).any():
        raise InputError(
            f"labels must be in 0..{num_classes - 1} for {num_classes} classes, "
            f"got {labels.min()}..{labels.max()}"
        )
    return hit_ranks(scores, labels[:, None] == np.arange(num_classes))


def mean_per_class(hits: NDArray[np.bool_], labels: NDArray[np.integer[Any]]) -> float:
    """Return the mean over classes of the share of hits: each class counts the same.

    Args:
        hits: Whether each image was right, shape (N,), N >= 1.
        labels: The right class of each image, shape (N,), 0 or more.

    Returns:
        A fraction in [0, 1]; classes without an image do not count.

    Example:
        >>> mean_per_class(np.array([True, True, True, False]), np.array([0, 0, 0, 2]))
        0.5
    """
    totals = np.bincount(labels)
    right = np.bincount(labels, weights=hits)
    is_there = totals > 0
    return float((right[is_there] / totals[is_there]).mean())


def label_log_probabilities(
    logits: NDArray[np.float64], labels: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """Return the log probability of each image's right class, under softmax over the classes.

    Its mean with the sign turned is the cross entropy. It is computed in logarithms all the way: a
    probability may be too small for a float.

    Args:
        logits: Of image n for class c, shape (N, C), N >= 1. A constant added to a row changes
            nothing.
        labels: The right class of each image, shape (N,), in 0..C-1.

    Returns:
        Natural logarithms, at most 0, shape (N,).

    Example:
        >>> label_log_probabilities(np.log([[0.75, 0.25]]), np.array([0])).round(4).tolist()
        [-0.2877]
    """
    top = logits.max(axis=1)
    log_sums = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    log_probabilities: NDArray[np.float64] = logits[np.arange(len(labels)), labels] - log_sums
    return log_probabilities
