"""A linear probe that starts from the class texts and is held to them.

Shapes: N support images, C classes, D dimensions.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clipkit.adaptation.classifiers import LinearClassifier
from clipkit.adaptation.held_out import Fitted, fit_with_best_setting
from clipkit.adaptation.support import Support
from clipkit.errors import MissingExtraError
from clipkit.metrics.classification import label_log_probabilities

# How strongly weights are held to the texts, from much to little.
_STRENGTHS = (100.0, 30.0, 10.0, 3.0, 1.0)
DEFAULT_STRENGTH = 100.0  # where one image a class leaves nothing to choose by
_MOST_STEPS = 300
# A search ends with a step that lowers the loss by a smaller share. Over six sets of images and 83
# supports a hundredth of it changed accuracy by .1 points on average, and took twice the time.
_LEAST_GAIN = 1e-5


def fit_probe(support: Support) -> Fitted:
    """Fit a probe whose strength held-out images choose.

    Args:
        support: The labelled images.

    Returns:
        The probe.

    Raises:
        MissingExtraError: If SciPy is not installed.
    """
    return fit_with_best_setting(support, _STRENGTHS, _Path, default=DEFAULT_STRENGTH)


def text_probe(support: Support, strength: float) -> LinearClassifier:
    """Return the class texts moved to where they classify the support images best.

    The mean cross-entropy of the images is made least, plus strength times the mean over the
    classes of a_c |w_c - t_c|². a_c is the probability that the texts alone give the right class
    of the images of c: where the texts are wrong, less holds the weights to them.

    Args:
        support: The labelled images. The text of a class without any stays where it is.
        strength: Above 0.

    Returns:
        Cosines to the moved texts, times the logit scale.

    Raises:
        MissingExtraError: If SciPy is not installed.

    Source:
        Silva-Rodríguez et al. 2024, "A Closer Look at the Few-Shot Adaptation of Large
        Vision-Language Models" (arXiv 2312.12730): CLAP, with its penalty. There a few hundred
        steps of gradient descent end the search; here it ends at the least.
    """
    return _Path(support)(strength)


class _Path:
    """Probes of falling strength: each search starts where the one before has ended.

    Args:
        support: The labelled images.
    """

    def __init__(self, support: Support) -> None:
        self._support = support
        self._basis = _basis(support)
        rows, texts = (
            (given.astype(np.float64) @ self._basis).astype(np.float32)
            for given in (support.embeddings, support.class_embeddings)
        )
        self._inside = replace(support, embeddings=rows, class_embeddings=texts)
        self._weights = texts.astype(np.float64)

    def __call__(self, strength: float) -> LinearClassifier:
        try:
            from scipy.optimize import minimize  # type: ignore[import-untyped]
        except ImportError as error:
            raise MissingExtraError("evaluate", "A probe") from error
        loss = _Loss(self._inside, strength)
        options = {"maxiter": _MOST_STEPS, "ftol": _LEAST_GAIN}
        start = self._weights.ravel()
        found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
        self._weights = found.x.reshape(self._weights.shape)
        units = self._weights / np.linalg.norm(self._weights, axis=1, keepdims=True)
        scaled = self._support.logit_scale * units @ self._basis.T
        return LinearClassifier(scaled, np.zeros(len(units)))


def _basis(support: Support) -> NDArray[np.float64]:
    """Return orthonormal columns, shape (D, K), whose span holds all images and texts.

    Gradients are sums of these: weights that begin at the texts never leave the span, in which
    lengths and cosines are the same.
    """
    everything = np.concatenate([support.embeddings, support.class_embeddings]).astype(np.float64)
    count, dim = everything.shape
    return np.linalg.qr(everything.T)[0] if count < dim else np.eye(dim)


class _Loss:
    """The loss of weights, and its gradient.

    Products with the images are in float32, which takes half the time, and sums in float64.

    Args:
        support: The labelled images.
        strength: Of the penalty for leaving the texts.
    """

    def __init__(self, support: Support, strength: float) -> None:
        self._rows = support.embeddings.astype(np.float32)
        self._right = np.arange(len(support.labels)), support.labels
        self._scale = support.logit_scale
        self._texts = support.class_embeddings.astype(np.float64)
        right = label_log_probabilities(support.zero_shot(support.embeddings), support.labels)
        sums = np.bincount(support.labels, weights=np.exp(right), minlength=len(self._texts))
        trust = np.where(support.counts, sums / np.maximum(support.counts, 1), 1.0)
        self._pull = strength * trust[:, None] / len(self._texts)  # (C, 1)

    def __call__(self, flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = flat.reshape(self._texts.shape)
        norms = np.linalg.norm(weights, axis=1, keepdims=True)
        units = weights / norms
        count = len(self._rows)
        logits = self._rows @ (self._scale * units).astype(np.float32).T
        logits -= logits.max(axis=1, keepdims=True)
        of_labels = logits[self._right].sum(dtype=np.float64)
        exps = np.exp(logits, out=logits)
        sums = exps.sum(axis=1, keepdims=True)
        moved = weights - self._texts
        surprise = np.log(sums).sum(dtype=np.float64) - of_labels
        loss = surprise / count + (self._pull * moved**2).sum()
        errors = np.divide(exps, sums, out=exps)
        errors[self._right] -= 1
        of_units = self._scale / count * (errors.T @ self._rows).astype(np.float64)
        along = (of_units * units).sum(axis=1, keepdims=True)
        gradient = (of_units - along * units) / norms + 2 * self._pull * moved
        return float(loss), gradient.ravel()
