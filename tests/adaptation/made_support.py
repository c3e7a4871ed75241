"""Supports that tests fit on: a worked example, and clusters around the axes."""

import numpy as np

from clipkit.adaptation.support import Support
from clipkit.embeddings import normalize_rows

WORKED = Support(
    np.array([[0.6, 0.8], [0.8, 0.6], [0.0, 1.0]], dtype=np.float32),
    np.array([0, 0, 1]),
    np.eye(2, dtype=np.float32),
    logit_scale=100.0,
)


def made_support(
    counts: list[int],
    *,
    dim: int = 8,
    seed: int = 0,
    wrong_texts: bool = False,
    spread: float = 0.2,
) -> Support:
    """Return images scattered around one axis a class, with the axes as their texts.

    Args:
        counts: Images of each class; at most ``dim`` classes.
        dim: Dimensions.
        seed: Of the scatter.
        wrong_texts: Whether each text is the axis of the next class.
        spread: Standard deviation of the scatter in each dimension.
    """
    rng = np.random.default_rng(seed)
    axes = np.eye(dim, dtype=np.float32)[: len(counts)]
    labels = np.repeat(np.arange(len(counts)), counts)
    scatter = rng.normal(0, spread, (len(labels), dim))
    rows = normalize_rows(axes[labels] + scatter)
    texts = np.roll(axes, 1, axis=0) if wrong_texts else axes
    return Support(rows, labels, texts, logit_scale=20.0)
