"""What support images that were held out say of a classifier: which setting, which temperature.

No method here has a validation set: with a few images a class, all that there are is the support.

Shapes: N support images, C classes, S settings.
"""

from collections.abc import Callable, Sequence

import numpy as np

from clipkit.adaptation.classifiers import Classifier
from clipkit.adaptation.support import Logits, Support
from clipkit.metrics.calibration import best_log_probability
from clipkit.runtime.base import Scoring
from clipkit.zero_shot.calibration import fit_scoring

_FOLDS = 5
_ROUNDING = 1e-6  # of a mean log probability

Fit = Callable[[Support], Classifier]


def choose_setting(
    support: Support,
    settings: Sequence[float],
    classifiers: Callable[[Support], Callable[[float], Classifier]],
) -> float:
    """Return the setting whose classifier knows most of held-out images.

    Args:
        support: The labelled images; one class has two or more.
        settings: To choose from; of equally good ones the first is taken.
        classifiers: Returns, for a part of the support, what makes a classifier of a setting.

    Returns:
        The setting of the highest log probability at its own best temperature: at a given one, a
        setting that does no more than lower an overconfident model's confidence would win.
    """
    shape = (len(settings), len(support.labels), len(support.class_embeddings))
    logits = np.empty(shape)
    for part, rows in support.folds(_FOLDS):
        make = classifiers(part)
        for place, setting in enumerate(settings):
            logits[place, rows] = make(setting).logits(support.embeddings[rows])
    return settings[best_of([best_log_probability(some, support.labels) for some in logits])]


def best_of(log_probabilities: Sequence[float]) -> int:
    """Return the place of the highest, of equal ones but for rounding the first, shape (S,)."""
    values = np.array(log_probabilities)
    return int(np.flatnonzero(values >= values.max() - _ROUNDING)[0])


def held_out_logits(support: Support, fit: Fit) -> Logits:
    """Return the logits of each support image by a classifier of others, shape (N, C)."""
    logits = np.empty((len(support.labels), len(support.class_embeddings)))
    for part, rows in support.folds(_FOLDS):
        logits[rows] = fit(part).logits(support.embeddings[rows])
    return logits


def held_out_scale(support: Support, fit: Fit) -> float:
    """Return what the logits of a classifier are to be multiplied by: 1 / its temperature.

    Args:
        support: The labelled images that it is fitted on.
        fit: Makes a classifier of a part of them.

    Returns:
        What images ask for that it was not fitted on; 1 for one image a class, as nothing can be
        held out. It is held to 1 as a calibration is to the checkpoint's temperature.

    Raises:
        MissingExtraError: If SciPy is not installed.
    """
    if support.counts.max() < 2:
        return 1.0
    logits = held_out_logits(support, fit)
    return fit_scoring(logits, support.labels, Scoring(0.0, None)).logit_scale
