"""What classifiers of images have in common: scores of labels in, ranked labels out.

Shapes: N images, G labels that are ranked, D dimensions.
"""

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import check_whole
from clipkit.embeddings import Embeddings, top_k
from clipkit.encoder.encoder import Encoder
from clipkit.inputs.image_input import ImageInput
from clipkit.progress import Progress
from clipkit.zero_shot.label_scores import ClassifiedBatch, LabelScore


class ImageClassifier(ABC):
    """Ranks the labels of images, by whatever gives each label a score.

    Args:
        encoder: The model that embeds the images.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def classify(
        self,
        images: Iterable[ImageInput],
        *,
        k: int | None = None,
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> list[list[LabelScore]]:
        """Return the labels of each image, best first.

        Args:
            images: N images, as for :meth:`clipkit.Encoder.encode_images`.
            k: How many labels an image; None for all.
            batch_size: As for :meth:`clipkit.Encoder.encode_images`.
            progress: Called after every batch with (done, total).

        Returns:
            One list an image, in the order of the images.

        Raises:
            ImageReadError: At the first image that cannot be read. To skip such images, use
                :meth:`stream`.
            InputError: If an item is no image at all, or k is less than 1.
        """
        count = self._count(k)
        embeddings = self._encoder.encode_images(images, batch_size=batch_size, progress=progress)
        return self.rank(embeddings, k=count)

    def stream(
        self,
        images: Iterable[ImageInput],
        *,
        k: int | None = None,
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> Generator[ClassifiedBatch]:
        """Yield the labels of images batch by batch, in memory that does not grow.

        Args:
            images: Any number of images, as for :meth:`clipkit.Encoder.encode_images`.
            k: How many labels an image; None for all.
            batch_size: As for :meth:`clipkit.Encoder.stream_images`.
            progress: Called after every batch with (done, total).

        Yields:
            Batches in the order of the images. Each position is in exactly one batch, with its
            labels or with the reason why there are none.

        Raises:
            InputError: If an item is no image at all, or k is less than 1.
        """
        count = self._count(k)
        batches = self._encoder.stream_images(images, batch_size=batch_size, progress=progress)
        with closing(batches):
            for batch in batches:
                labels = self.rank(batch.embeddings, k=count)
                yield ClassifiedBatch(batch.positions, labels, batch.skipped)

    def rank(self, image_embeddings: Embeddings, *, k: int | None = None) -> list[list[LabelScore]]:
        """Return the labels of images that are embedded already, best first.

        Args:
            image_embeddings: Shape (N, D), rows of norm 1, of the classifier's space.
            k: How many labels an image; None for all.

        Returns:
            One list an image. Labels of equal score keep the order of the class names.

        Raises:
            InputError: If the shapes do not fit, rows are not of norm 1, or k is less than 1.
            SpaceMismatchError: If the embeddings know that they are of another space.
        """
        count = self._count(k)
        labels = self._ranked_labels
        return [
            [LabelScore(score=float(row[at]), label=labels[at]) for at in top_k(row, count)]
            for row in self._ranked(image_embeddings)
        ]

    @property
    @abstractmethod
    def _ranked_labels(self) -> list[str]:
        """The G labels that are ranked."""

    @abstractmethod
    def _ranked(self, image_embeddings: Embeddings) -> NDArray[np.float32]:
        """Return the score of every image for every label that is ranked, shape (N, G)."""

    def _count(self, k: int | None) -> int:
        return len(self._ranked_labels) if k is None else check_whole(k, "k")
