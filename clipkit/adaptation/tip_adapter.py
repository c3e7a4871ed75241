"""Tip-Adapter: retrieval over the support images beside the class texts.

Shapes: N support images, C classes, D dimensions.
"""

import numpy as np

from clipkit.adaptation.classifiers import CacheClassifier, cache_votes
from clipkit.adaptation.held_out import ROUNDING, Fitted, HeldOut
from clipkit.adaptation.support import Support
from clipkit.metrics.calibration import best_log_probability

# Published searches on validation data end between 1 and 50, of logits at CLIP's scale of 100.
_ALPHAS = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
_BETAS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_CLIP_SCALE = 100.0
_MOST_JUDGED = 2000  # images that the settings are chosen by


def fit_tip_adapter(support: Support) -> Fitted:
    """Fit Tip-Adapter: support images vote for their classes, beside the class texts.

    Args:
        support: The labelled images.

    Returns:
        Zero-shot logits plus alpha times the votes. Both settings are those that know most of the
        support images without the own vote of each. Of one image a class no vote can be right
        then, and alpha is 0.

    Source:
        Zhang et al. 2022, "Tip-Adapter" (arXiv 2207.09519), without training; there the settings
        are searched on validation images.
    """
    keys = support.embeddings.astype(np.float64)
    rows = np.unique(np.linspace(0, len(keys) - 1, _MOST_JUDGED).astype(np.intp))
    judged, texts = support.take(rows), support.zero_shot(support.embeddings[rows])
    cosines = keys[rows] @ keys.T
    cosines[np.arange(len(rows)), rows] = -np.inf  # its own vote would always be right
    best, chosen = -np.inf, (0.0, _BETAS[0])
    held_out = HeldOut(texts, judged.labels)
    for beta in _BETAS:
        votes = cache_votes(cosines, support.labels, texts.shape[1], beta=beta)
        for alpha in _ALPHAS:
            weight = alpha * support.logit_scale / _CLIP_SCALE
            logits = texts + weight * votes
            known = best_log_probability(logits, judged.labels)
            if known > best + ROUNDING:
                best, chosen = known, (weight, beta)
                held_out = HeldOut(logits, judged.labels)
    weights = support.logit_scale * support.class_embeddings.astype(np.float64)
    classifier = CacheClassifier(weights, keys, support.labels, *chosen)
    return Fitted(classifier, held_out)
