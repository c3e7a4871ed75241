"""A linear adapter: one matrix for all image embeddings, held to the identity.

Shapes: N support images, C classes, D dimensions, R directions that support images have.
"""

import numpy as np
from numpy.typing import NDArray

from clipkit.adaptation.classifiers import AdapterClassifier
from clipkit.adaptation.held_out import Fitted, fit_with_best_setting
from clipkit.adaptation.support import Support
from clipkit.errors import MissingExtraError

_MOST_STEPS = 300  # as published


def fit_adapter(support: Support) -> Fitted:
    """Fit a linear adapter at its published strength, which needs no validation images.

    Args:
        support: The labelled images.

    Returns:
        The classifier.

    Raises:
        MissingExtraError: If SciPy is not installed.
    """
    strength = 1 / max(1.0, float(support.counts.mean()))
    return fit_with_best_setting(
        support,
        [strength],
        lambda part: lambda strength: adapted_embeddings(part, strength),
        default=strength,
    )


def adapted_embeddings(support: Support, strength: float) -> AdapterClassifier:
    """Return the matrix A for which the texts classify normalised A x best.

    The mean cross-entropy of the images x is made least, plus strength times |A - I|².

    Args:
        support: The labelled images.
        strength: Above 0.

    Returns:
        Cosines of adapted embeddings to the texts, times the logit scale.

    Raises:
        MissingExtraError: If SciPy is not installed.

    Source:
        Fahes et al. 2024, "CLIP's Visual Embedding Projector is a Few-shot Cornucopia" (arXiv
        2410.05270): the regularized linear adapter (RLA), ProLIP for embeddings of a model whose
        weights are not at hand, with the strength 1 / images a class. There 300 steps of gradient
        descent end the search; here it ends at the least.
    """
    try:
        from scipy.optimize import minimize  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("evaluate", "A linear adapter") from error
    loss = _Loss(support, strength)
    options = {"maxiter": _MOST_STEPS}
    found = minimize(loss, np.zeros(loss.size), jac=True, method="L-BFGS-B", options=options)
    texts = support.logit_scale * support.class_embeddings.astype(np.float64)
    return AdapterClassifier(texts, loss.matrix(found.x))


class _Loss:
    """The loss of a change B of the identity, A = I + B Qᵀ, and its gradient.

    What A does to directions Q, which no support image has, is not seen by the loss, and is the
    identity at its least. So B has a column for each of those that they have.

    Args:
        support: The labelled images.
        strength: Of the penalty for leaving the identity.
    """

    def __init__(self, support: Support, strength: float) -> None:
        self._rows = support.embeddings.astype(np.float64)
        self._texts = support.class_embeddings.astype(np.float64)
        self._one_hot = support.one_hot
        self._scale = support.logit_scale
        self._strength = strength
        self._directions = np.linalg.qr(self._rows.T)[0]  # (D, R)
        self._places = self._rows @ self._directions  # (N, R)

    @property
    def size(self) -> int:
        """How many numbers the change has."""
        return self._directions.size

    def matrix(self, flat: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return A, shape (D, D), of a change."""
        change = flat.reshape(self._directions.shape)
        matrix: NDArray[np.float64] = np.eye(len(change)) + change @ self._directions.T
        return matrix

    def __call__(self, flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        change = flat.reshape(self._directions.shape)
        moved = self._rows + self._places @ change.T
        norms = np.linalg.norm(moved, axis=1, keepdims=True)
        units = moved / norms
        logits = self._scale * units @ self._texts.T
        logits -= logits.max(axis=1, keepdims=True)
        log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        count = len(logits)
        loss = -(self._one_hot * log_probabilities).sum() / count
        loss += self._strength * (change**2).sum()
        of_units = (np.exp(log_probabilities) - self._one_hot) @ self._texts * self._scale / count
        along = (of_units * units).sum(axis=1, keepdims=True)
        of_moved = (of_units - along * units) / norms
        gradient = of_moved.T @ self._places + 2 * self._strength * change
        return float(loss), gradient.ravel()
