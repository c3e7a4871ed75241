"""What a model is adapted to: labelled images, prompts of their classes, and what it should keep.

Shapes: N images, C classes, R images of other things, D dimensions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipkit.adaptation.support import Support
from clipkit.embeddings import Embeddings


@dataclass(frozen=True)
class Retention:
    """What a model says of images of other things, each among the names of those things."""

    right: NDArray[np.bool_]  # whether each is right, shape (R,)
    # Of the right name, at the temperature that fits these images best, shape (R,). It moves with
    # every image, where accuracy on a few dozen moves in steps and by chance.
    probabilities: NDArray[np.float64]


@dataclass(frozen=True)
class AdaptationTask:
    """Labelled images as embeddings, and the texts of their classes."""

    class_names: tuple[str, ...]  # C
    embeddings: Embeddings  # of the images, shape (N, D)
    labels: NDArray[np.intp]  # the class of each, in 0..C-1, shape (N,)
    one_prompt: Embeddings  # of each class, shape (C, D)
    class_embeddings: Embeddings  # the mean over all prompts of each class, shape (C, D)
    logit_scale: float
    retention: Retention | None = None  # of the model as it is; None: not measured

    def support(self, rows: NDArray[np.intp]) -> Support:
        """Return some of the images to adapt with."""
        return Support(
            self.embeddings[rows], self.labels[rows], self.class_embeddings, self.logit_scale
        )
