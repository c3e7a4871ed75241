"""Labelled images that a model is adapted with, as embeddings, beside the texts of their classes.

Shapes: N support images, C classes, D dimensions.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings

Logits = NDArray[np.float64]
"""What a softmax over the classes makes probabilities of, shape (M, C)."""


@dataclass(frozen=True)
class Support:
    """The few labelled images of a task, and the zero-shot classifier that they add to."""

    embeddings: Embeddings  # of the images, shape (N, D)
    labels: NDArray[np.intp]  # the class of each, in 0..C-1, shape (N,)
    class_embeddings: Embeddings  # one a class, the mean over its prompts, shape (C, D)
    logit_scale: float  # what the model multiplies cosines by, 1 / its temperature

    @property
    def counts(self) -> NDArray[np.intp]:
        """How many images each class has, shape (C,)."""
        return np.bincount(self.labels, minlength=len(self.class_embeddings))

    @property
    def one_hot(self) -> NDArray[np.float64]:
        """1 at the class of each image, shape (N, C)."""
        return np.eye(len(self.class_embeddings))[self.labels]

    def zero_shot(self, embeddings: Embeddings) -> Logits:
        """Return the logits of the class texts alone, shape (M, C)."""
        cosines = embeddings.astype(np.float64) @ self.class_embeddings.T.astype(np.float64)
        return self.logit_scale * cosines

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "Support":
        """Return the support of some of its images, of all the classes."""
        return replace(self, embeddings=self.embeddings[rows], labels=self.labels[rows])

    def folds(self, most: int) -> Iterator[tuple["Support", NDArray[np.intp]]]:
        """Yield parts of it that leave some images out, each image once.

        Each class lends its images to different folds, so that at most one more of it is missing
        in one fold than in another.

        Args:
            most: Folds, 2 or more; fewer if no class has so many images.

        Yields:
            The others, and the rows that are left out. A class of one image is missing then.
        """
        count = min(most, int(self.counts.max()))
        order = np.argsort(self.labels, kind="stable")
        firsts = np.cumsum(self.counts) - self.counts
        place = np.empty(len(order), dtype=np.intp)
        place[order] = np.arange(len(order)) - firsts[self.labels[order]]
        # Classes begin at different folds, else those of one image would all be in the first.
        fold = (place + self.labels) % count
        for number in range(count):
            left_out = np.flatnonzero(fold == number)
            if len(left_out):
                yield self.take(fold != number), left_out
