"""Labels that are embeddings already, such as those of taught concepts, beside labels of words.

Shapes: C labels, D dimensions.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import EmbeddingArray, Embeddings, check_embeddings, common_space
from clipkit.encoder.encoder import Encoder
from clipkit.errors import InputError, SpaceMismatchError
from clipkit.progress import Progress


def is_embedded(label: object) -> TypeGuard[NDArray[np.floating]]:
    """Return whether what stands for a label is an embedding: an array of floats."""
    return isinstance(label, np.ndarray) and np.issubdtype(label.dtype, np.floating)


class EmbeddedLabels:
    """The labels of a list that are embeddings already.

    Args:
        labels: Names; or by name what stands for it, of which the embeddings are taken.
        encoder: The model that they must be of, if they know of which they are.

    Raises:
        InputError: If one has not the shape (D,), or not norm 1.
        SpaceMismatchError: If one is of another model.
    """

    def __init__(self, labels: object, encoder: Encoder) -> None:
        self._rows: dict[str, Embeddings] = {}
        for name, value in labels.items() if isinstance(labels, Mapping) else ():
            if not is_embedded(value):
                continue
            space_id = common_space(value)
            if space_id not in (None, encoder.space_id):
                raise SpaceMismatchError(
                    f"the embedding of the label {name!r} is of space {space_id}, and the model is "
                    f"{encoder.name} (space {encoder.space_id}): make it with this model"
                )
            what = f"the embedding of {name!r}"
            if value.size != encoder.embed_dim:
                raise InputError(
                    f"{what} must have shape ({encoder.embed_dim},), got {value.shape}"
                )
            self._rows[name.strip()] = check_embeddings(value.reshape(1, -1), what)[0]

    def prompts_or_digest(self, name: str, prompts: tuple[str, ...]) -> tuple[str, ...]:
        """Return what a calibration knows a label by: its prompts, or its embedding's SHA-256."""
        if name not in self._rows:
            return prompts
        return (hashlib.sha256(self._rows[name].tobytes()).hexdigest(),)

    def encode(
        self,
        encoder: Encoder,
        names: Sequence[str],
        prompts: Sequence[tuple[str, ...]],
        progress: Progress | None,
    ) -> EmbeddingArray:
        """Return the embeddings of labels: their own, else the mean over their prompts.

        Args:
            encoder: The model.
            names: C labels.
            prompts: Those of each, none of one that is an embedding.
            progress: Called after every batch of prompts with (done, total).

        Returns:
            Shape (C, D).
        """
        words = [texts for texts in prompts if texts]
        encoded = encoder.encode_prompts(words, progress=progress)
        if len(words) == len(prompts):
            return encoded
        made = iter(encoded)
        rows = [
            next(made) if texts else self._rows[name]
            for name, texts in zip(names, prompts, strict=True)
        ]
        return EmbeddingArray(np.stack([np.asarray(row) for row in rows]), encoder.space_id)
