"""What support images that were held out say of a classifier: which setting, which temperature.

No method here has a validation set: with a few images a class, all that there are is the support.

Shapes: N support images of which H were held out, C classes, S settings.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipkit.adaptation.classifiers import Classifier
from clipkit.adaptation.support import Logits, Support
from clipkit.metrics.calibration import best_log_probability
from clipkit.runtime.base import Scoring
from clipkit.zero_shot.calibration import fit_scoring

_FOLDS = 5
_ENOUGH = 500  # images that were held out tell settings apart; of more, fitting takes long
ROUNDING = 1e-6  # of a mean log probability


@dataclass(frozen=True)
class HeldOut:
    """What a method says of support images that it was not fitted on."""

    logits: Logits  # shape (H, C)
    labels: NDArray[np.intp]  # shape (H,)

    def scale(self) -> float:
        """Return what logits are to be multiplied by: 1 / their temperature.

        Returns:
            What these images ask for, held to 1 as a calibration is to the checkpoint's own.

        Raises:
            MissingExtraError: If SciPy is not installed.
        """
        return fit_scoring(self.logits, self.labels, Scoring(0.0, None)).logit_scale


@dataclass(frozen=True)
class Fitted:
    """A classifier of all support images."""

    classifier: Classifier
    held_out: HeldOut | None  # None: with one image a class nothing can be held out

    def calibrated(self) -> Classifier:
        """Return the classifier at the temperature that held-out images ask for.

        Returns:
            It with logits times `scale`.

        Raises:
            MissingExtraError: If SciPy is not installed.
        """
        return self.classifier.scaled(self.scale())

    def scale(self) -> float:
        """Return what its logits are to be multiplied by: 1 / their temperature.

        Returns:
            As :meth:`HeldOut.scale`; 1 where no image could be held out.

        Raises:
            MissingExtraError: If SciPy is not installed.
        """
        return 1.0 if self.held_out is None else self.held_out.scale()


Maker = Callable[[float], Classifier]
"""Makes a classifier of a setting."""


def fit_with_best_setting(
    support: Support,
    settings: Sequence[float],
    makers: Callable[[Support], Maker],
    *,
    default: float,
) -> Fitted:
    """Fit with the setting by which most is known of held-out images.

    Args:
        support: The labelled images.
        settings: To choose from, ascending in what they trust the images with; of equally good
            ones the first is taken.
        makers: Returns, for a part of the support, what makes a classifier of a setting; it is
            called with the settings in their order.
        default: The setting where no class has two images.

    Returns:
        The classifier of the setting with the highest log probability of held-out images, each once
        or of many _ENOUGH, at its own best temperature:
        at a given one, a setting that does no more than lower an overconfident model's confidence
        would win.
    """
    if support.counts.max() < 2:
        return Fitted(makers(support)(default), None)
    of_settings: list[list[Logits]] = [[] for _ in settings]
    held: list[NDArray[np.intp]] = []
    for part, rows in support.folds(_FOLDS):
        make = makers(part)
        for found, setting in zip(of_settings, settings, strict=True):
            found.append(make(setting).logits(support.embeddings[rows]))
        held.append(rows)
        if sum(map(len, held)) >= _ENOUGH:
            break
    rows = np.concatenate(held)
    order = np.argsort(rows)
    labels = support.labels[rows[order]]
    logits = [np.concatenate(found)[order] for found in of_settings]
    best = best_of([best_log_probability(some, labels) for some in logits])
    held_out = HeldOut(logits[best], labels)
    return Fitted(makers(support)(settings[best]), held_out)


def best_of(log_probabilities: Sequence[float]) -> int:
    """Return the place of the highest, of equal ones but for rounding the first, shape (S,)."""
    values = np.array(log_probabilities)
    return int(np.flatnonzero(values >= values.max() - ROUNDING)[0])
