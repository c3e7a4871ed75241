"""Classifiers as the tensors and settings of a file, and read from them again.

Shapes: N support images, C classes, D dimensions.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.adaptation.classifiers import (
    AdapterClassifier,
    CacheClassifier,
    Classifier,
    LinearClassifier,
)

Tensors = Mapping[str, NDArray[Any]]
Settings = Mapping[str, Any]


def classifier_tensors(found: Classifier) -> tuple[dict[str, NDArray[Any]], dict[str, float]]:
    """Return the tensors of a classifier by name, floats as float32, and its other numbers."""
    tensors: dict[str, NDArray[Any]] = {"weights": found.weights.astype(np.float32)}
    if isinstance(found, LinearClassifier):
        return {**tensors, "bias": found.bias.astype(np.float32)}, {}
    if isinstance(found, AdapterClassifier):
        return {**tensors, "adapter": found.adapter.astype(np.float32)}, {}
    tensors["keys"] = found.keys.astype(np.float32)
    tensors["labels"] = found.labels.astype(np.int64)
    return tensors, {"alpha": found.alpha, "beta": found.beta}


def read_classifier(tensors: Tensors, settings: Settings, num_classes: int) -> Classifier:
    """Return the classifier of tensors and settings.

    Args:
        tensors: As :func:`classifier_tensors` returns them; finite.
        settings: The same.
        num_classes: C.

    Returns:
        The classifier.

    Raises:
        KeyError: If a tensor or a setting is missing.
        ValueError: If they do not fit together.
        TypeError: If a setting is no number.
    """
    weights = tensors["weights"].astype(np.float64)
    if weights.ndim != 2 or len(weights) != num_classes:
        raise ValueError(f"it has {num_classes} classes and weights of shape {weights.shape}")
    if "keys" in tensors:
        return _cache(weights, tensors, settings)
    if "adapter" in tensors:
        adapter = tensors["adapter"].astype(np.float64)
        _check(adapter.shape == (weights.shape[1],) * 2)
        return AdapterClassifier(weights, adapter)
    bias = tensors["bias"].astype(np.float64)
    _check(bias.shape == (num_classes,))
    return LinearClassifier(weights, bias)


def _cache(weights: NDArray[np.float64], tensors: Tensors, settings: Settings) -> CacheClassifier:
    keys, labels = tensors["keys"].astype(np.float64), tensors["labels"]
    alpha, beta = float(settings["alpha"]), float(settings["beta"])
    _check(labels.ndim == 1 and labels.dtype.kind == "i" and math.isfinite(alpha * beta))
    _check(keys.shape == (len(labels), weights.shape[1]))
    _check(bool(((labels >= 0) & (labels < len(weights))).all()))
    return CacheClassifier(weights, keys, labels, alpha, beta)


def _check(fits: bool) -> None:  # noqa: FBT001
    if not fits:
        raise ValueError("its tensors do not fit together")
