"""Linear probe: logistic regression on image embeddings, what a model's images alone can tell.

Shapes: N training images, C classes, D dimensions.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings
from clipkit.errors import InputError, MissingExtraError

# How weakly weights are held to 0: what is tried, in steps of 10. Rows have norm 1, so weights of
# about the logit scale are usual.
_STRENGTHS = tuple(10.0**power for power in range(-1, 6))
_OF_ONE_IMAGE = 100.0  # with one image a class nothing can be held out
_MOST_FOLDS = 5
_MOST_STEPS = 1000


@dataclass(frozen=True)
class LinearProbe:
    """A logistic regression that was fitted."""

    model: Any  # scikit-learn's LogisticRegression
    strength: float  # C, the inverse of the L2 regularisation
    is_chosen: bool  # whether held-out images chose it; else it is the default

    def log_probabilities(self, embeddings: Embeddings) -> NDArray[np.float64]:
        """Return the log probability of each class, by number, shape (N, C)."""
        found: NDArray[np.float64] = self.model.predict_log_proba(embeddings.astype(np.float64))
        return found


def fit_linear_probe(embeddings: Embeddings, labels: NDArray[np.intp], seed: int) -> LinearProbe:
    """Fit a linear probe; its regularisation is chosen on training images that are held out.

    Args:
        embeddings: Shape (N, D), rows of norm 1.
        labels: Their classes, shape (N,): each of 0..C-1 is there, C >= 2.
        seed: Of the folds.

    Returns:
        The probe.

    Raises:
        InputError: If there is one class only.
        MissingExtraError: If scikit-learn is not installed.

    Source:
        Radford et al. 2021 (arXiv 2103.00020), section 3.2, which sweeps C on validation data.
    """
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GridSearchCV, StratifiedKFold
    except ImportError as error:
        raise MissingExtraError("evaluate", "A linear probe") from error
    counts = np.bincount(labels)
    if len(counts) < 2:
        raise InputError("a linear probe needs images of two classes at least, got one")
    model = LogisticRegression(C=_OF_ONE_IMAGE, max_iter=_MOST_STEPS)
    if counts.min() < 2:
        return LinearProbe(_fitted(model, embeddings, labels), _OF_ONE_IMAGE, is_chosen=False)
    folds = StratifiedKFold(min(_MOST_FOLDS, int(counts.min())), shuffle=True, random_state=seed)
    search = GridSearchCV(model, {"C": _STRENGTHS}, scoring="neg_log_loss", cv=folds)
    _fitted(search, embeddings, labels)
    return LinearProbe(search.best_estimator_, float(search.best_params_["C"]), is_chosen=True)


def _fitted(model: Any, embeddings: Embeddings, labels: NDArray[np.intp]) -> Any:
    """Return a model of scikit-learn's after fitting it."""
    with warnings.catch_warnings():
        # With an image or two a class it takes the classes for numbers that are to be predicted.
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        return model.fit(embeddings, labels)
