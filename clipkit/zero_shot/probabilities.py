"""Cosines of images and labels as probabilities.

Shapes: N images, G labels.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.runtime.base import Scoring


def label_log_losses(cosines: NDArray[np.floating[Any]], scoring: Scoring) -> NDArray[np.float64]:
    """Return minus the log probability of every label for every image.

    Of the softmax over the labels, or of a checkpoint trained with the sigmoid loss of each label
    by itself. In logarithms a probability may be too small for a float.

    Args:
        cosines: Shape (N, G).
        scoring: What they are multiplied by, and the sigmoid's bias.

    Returns:
        Natural logarithms with the sign turned, at least 0, shape (N, G).

    Example:
        >>> cosines = np.log([[0.75, 0.25]])
        >>> np.exp(-label_log_losses(cosines, Scoring(log_scale=0.0))).round(4).tolist()
        [[0.75, 0.25]]
    """
    logits = scoring.logit_scale * np.asarray(cosines, np.float64)
    if scoring.logit_bias is not None:
        losses: NDArray[np.float64] = np.logaddexp(0, -(logits + scoring.logit_bias))
        return losses
    below = logits.max(axis=-1, keepdims=True) - logits
    losses = below + np.log(np.exp(-below).sum(axis=-1, keepdims=True))
    return losses


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logistic function, safe for large logits of either sign."""
    probabilities: NDArray[np.float64] = np.exp(-np.logaddexp(0, -logits))
    return probabilities
