"""Classifiers on image embeddings that a few labelled images make.

Shapes: M images, N support images, C classes, D dimensions.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clipkit.adaptation.support import Logits
from clipkit.embeddings import Embeddings


@dataclass(frozen=True)
class LinearClassifier:
    """A weight vector and a bias a class: logits = embeddings @ weights.T + bias."""

    weights: NDArray[np.float64]  # shape (C, D)
    bias: NDArray[np.float64]  # shape (C,)

    def logits(self, embeddings: Embeddings) -> Logits:
        """Return the logits of images, shape (M, C), from embeddings of shape (M, D)."""
        found: Logits = embeddings.astype(np.float64) @ self.weights.T + self.bias
        return found

    def scaled(self, factor: float) -> "LinearClassifier":
        """Return the classifier whose logits are so many times as large."""
        return LinearClassifier(self.weights * factor, self.bias * factor)

    @property
    def num_bytes(self) -> int:
        """How many bytes a file of it takes, but for the names."""
        return 4 * (self.weights.size + self.bias.size)


@dataclass(frozen=True)
class CacheClassifier:
    """Class texts, and a vote of the support images by how near each is to an image."""

    weights: NDArray[np.float64]  # of the texts, shape (C, D)
    keys: NDArray[np.float64]  # embeddings of the support images, shape (N, D)
    labels: NDArray[np.intp]  # the class of each, in 0..C-1, shape (N,)
    alpha: float  # what the votes are multiplied by, 0 or more
    beta: float  # how fast a vote falls with distance, above 0

    def logits(self, embeddings: Embeddings) -> Logits:
        """Return the logits of images, shape (M, C), from embeddings of shape (M, D)."""
        rows = embeddings.astype(np.float64)
        votes = cache_votes(rows @ self.keys.T, self.labels, len(self.weights), beta=self.beta)
        found: Logits = rows @ self.weights.T + self.alpha * votes
        return found

    def scaled(self, factor: float) -> "CacheClassifier":
        """Return the classifier whose logits are so many times as large."""
        return replace(self, weights=self.weights * factor, alpha=self.alpha * factor)

    @property
    def num_bytes(self) -> int:
        """How many bytes a file of it takes, but for the names."""
        return 4 * (self.weights.size + self.keys.size) + 8 * self.labels.size


@dataclass(frozen=True)
class AdapterClassifier:
    """Class texts, and a matrix that embeddings are multiplied by before they meet them."""

    weights: NDArray[np.float64]  # of the texts, shape (C, D)
    adapter: NDArray[np.float64]  # shape (D, D)

    def logits(self, embeddings: Embeddings) -> Logits:
        """Return the logits of images, shape (M, C), from embeddings of shape (M, D)."""
        moved = embeddings.astype(np.float64) @ self.adapter.T
        found: Logits = moved / np.linalg.norm(moved, axis=1, keepdims=True) @ self.weights.T
        return found

    def scaled(self, factor: float) -> "AdapterClassifier":
        """Return the classifier whose logits are so many times as large."""
        return replace(self, weights=self.weights * factor)

    @property
    def num_bytes(self) -> int:
        """How many bytes a file of it takes, but for the names."""
        return 4 * (self.weights.size + self.adapter.size)


Classifier = LinearClassifier | CacheClassifier | AdapterClassifier
"""What turns image embeddings into logits of classes."""


def cache_votes(
    cosines: NDArray[np.float64], labels: NDArray[np.intp], num_classes: int, *, beta: float
) -> NDArray[np.float64]:
    """Return the sum of exp(-beta (1 - cosine)) over the support images of each class.

    Args:
        cosines: Of images and support images, shape (M, N).
        labels: The class of each support image, shape (N,).
        num_classes: C.
        beta: How fast a vote falls with distance, above 0.

    Returns:
        Shape (M, C), 0 or more.

    Example:
        >>> cosines = np.array([[0.70710678, 0.98994949, 0.70710678]])
        >>> cache_votes(cosines, np.array([0, 0, 1]), 2, beta=5.5).round(6).tolist()
        [[1.145928, 0.199705]]

    Source:
        Zhang et al. 2022, "Tip-Adapter" (arXiv 2207.09519), equation 4.
    """
    votes: NDArray[np.float64] = np.exp(-beta * (1 - cosines)) @ np.eye(num_classes)[labels]
    return votes
