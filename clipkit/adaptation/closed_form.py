"""Classifiers in closed form: class means added to the texts, and a Gaussian discriminant.

Shapes: N support images, C classes, D dimensions.
"""

import numpy as np
from numpy.typing import NDArray

from clipkit.adaptation.classifiers import LinearClassifier
from clipkit.adaptation.held_out import Fitted, Maker, fit_with_best_setting
from clipkit.adaptation.support import Support
from clipkit.embeddings import normalize_rows

# What the published weight of the images is multiplied by: with CLIP's temperature, at which it is
# hundreds of times that of the text, a few images a class are worse than the text alone.
_IMAGE_SHARES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_DISCRIMINANT_WEIGHTS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
LEAST_FOR_DISCRIMINANT = 3  # images a class on average: a covariance of fewer is none


def fit_text_and_means(support: Support) -> Fitted:
    """Fit SS-Text: to each class text the images of the class are added.

    Args:
        support: The labelled images.

    Returns:
        Cosines to the sums, times the logit scale. The weight of the images is that of the paper,
        times what held-out images choose; without any to hold out the texts stay as they are.

    Source:
        The solver "sstext" of the authors of CLAP and LP++, for medical models.
    """

    def maker(part: Support) -> Maker:
        return lambda share: text_and_means(part, share)

    return fit_with_best_setting(support, _IMAGE_SHARES, maker, default=0.0)


def text_and_means(support: Support, share: float) -> LinearClassifier:
    """Return SS-Text with a share of its published weight of the images.

    Args:
        support: The labelled images.
        share: 0 for the texts alone, 1 for the paper's.

    Returns:
        Cosines to t_c + share · sum of the images of c / (N λ_c τ), λ_c = 1 / their number, times
        the logit scale 1 / τ.
    """
    sums = support.one_hot.T @ support.embeddings.astype(np.float64)
    weight = share * support.logit_scale * support.counts / len(support.labels)
    mixed = normalize_rows(support.class_embeddings + weight[:, None] * sums)
    scaled = support.logit_scale * mixed.astype(np.float64)
    return LinearClassifier(scaled, np.zeros(len(scaled)))


def fit_discriminant(support: Support) -> Fitted:
    """Fit GDA: a Gaussian of one covariance around each class mean, beside the texts.

    Args:
        support: The labelled images, LEAST_FOR_DISCRIMINANT a class or more on average.

    Returns:
        Zero-shot logits plus the discriminant's, with a weight that held-out images choose.

    Source:
        Wang et al. 2024, "A Hard-to-Beat Baseline for Training-Free CLIP-based Adaptation" (arXiv
        2402.04087), which chooses the weight on validation images.
    """
    return fit_with_best_setting(support, _DISCRIMINANT_WEIGHTS, _with_discriminant, default=0.0)


def _with_discriminant(support: Support) -> Maker:
    """Return what adds the discriminant to the texts, by its weight."""
    texts = support.logit_scale * support.class_embeddings.astype(np.float64)
    found = discriminant(support)
    return lambda weight: LinearClassifier(texts + weight * found.weights, weight * found.bias)


def discriminant(support: Support) -> LinearClassifier:
    """Return the discriminant alone.

    Args:
        support: The labelled images. A class without any has the mean of all.

    Returns:
        W = μP and b = ln(1/C) - μPμ/2 of each class, P = D ((n-1) Σ + tr(Σ) I)⁻¹ from the
        covariance Σ of the n images around their class means.
    """
    rows = support.embeddings.astype(np.float64)
    means = _class_means(support, rows)
    scatter = (rows - means[support.labels]).T @ (rows - means[support.labels])  # (n-1) Σ
    trace = float(np.trace(scatter)) / max(1, len(rows) - 1)
    dim = rows.shape[1]
    if trace == 0:  # images of a class are all alike: their covariance says nothing
        return LinearClassifier(np.zeros_like(means), np.zeros(len(means)))
    weights = dim * np.linalg.solve(scatter + trace * np.eye(dim), means.T).T
    bias = -np.log(len(means)) - (weights * means).sum(axis=1) / 2
    return LinearClassifier(weights, bias)


def _class_means(support: Support, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    sums, counts = support.one_hot.T @ rows, support.counts[:, None]
    means: NDArray[np.float64] = np.where(counts, sums / np.maximum(counts, 1), rows.mean(axis=0))
    return means
