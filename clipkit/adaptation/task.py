"""What a model is adapted to: labelled images, prompts of their classes, and what it should keep.

Shapes: N images, C classes, R images of other things, D dimensions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipkit.adaptation.support import Support
from clipkit.embeddings import Embeddings


@dataclass(frozen=True)
class AdaptationTask:
    """Labelled images as embeddings, and the texts of their classes."""

    class_names: tuple[str, ...]  # C
    embeddings: Embeddings  # of the images, shape (N, D)
    labels: NDArray[np.intp]  # the class of each, in 0..C-1, shape (N,)
    one_prompt: Embeddings  # of each class, shape (C, D)
    class_embeddings: Embeddings  # the mean over all prompts of each class, shape (C, D)
    logit_scale: float
    # Whether the model is right about images of other things, by their own names, shape (R,).
    retention: NDArray[np.bool_] | None = None

    def support(self, rows: NDArray[np.intp]) -> Support:
        """Return some of the images to adapt with."""
        return Support(
            self.embeddings[rows], self.labels[rows], self.class_embeddings, self.logit_scale
        )
