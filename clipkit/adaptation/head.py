"""Heads: classifiers of a user's own classes with all that using them needs, one file each.

Shapes: M images, N support images, C classes, D dimensions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.adaptation.classifier_tensors import classifier_tensors, read_classifier
from clipkit.adaptation.classifiers import Classifier
from clipkit.arguments import ENCODER_RULE, check_kind
from clipkit.embeddings import Embeddings, check_embeddings, common_space
from clipkit.encoder.encoder import Encoder
from clipkit.errors import InputError, SpaceMismatchError
from clipkit.files import write_bytes
from clipkit.models.tensor_file import About, TensorFileKind, Tensors, check_types
from clipkit.runtime.base import Scoring
from clipkit.zero_shot.image_classifier import ImageClassifier
from clipkit.zero_shot.probabilities import label_log_losses

HEAD_FILE = TensorFileKind("clipkit_head", "head", "clipkit adapt -o")
HEAD_NAME = "head.safetensors"  # in the directory of a model that was adapted


@dataclass(frozen=True)
class Head:
    """A classifier on the embeddings of one model.

    It is fitted by :func:`clipkit.adapt` and used with :class:`clipkit.HeadClassifier`, or with
    ``clipkit classify --head FILE``.
    """

    method: str  # how it was fitted, such as "gda"
    model: str  # the model's name, as it was resolved
    space_id: str  # of the model
    class_names: tuple[str, ...]  # C, in the order of the logits
    classifier: Classifier  # its logits are at the right temperature
    # What else is known of it, as JSON has it: the number of images, prompts, measurements.
    details: Mapping[str, Any] = field(default_factory=dict)

    def check_space(self, space_id: str, name: str) -> None:
        """Refuse embeddings of another model.

        Args:
            space_id: Of the embeddings.
            name: The model that made them.

        Raises:
            SpaceMismatchError: If they are of another space.
        """
        if space_id != self.space_id:
            remedy = f"load {self.model}, or fit a head on {name}"
            if name == self.model:
                remedy = f"{name} has other weights or settings now, fit the head again"
            raise SpaceMismatchError(
                f"the head was fitted on embeddings of {self.model} (space {self.space_id}), and "
                f"these are of {name} (space {space_id}): {remedy} with clipkit adapt"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return what is known of it as what JSON takes, without the tensors."""
        return {
            "method": self.method,
            "model": self.model,
            "space_id": self.space_id,
            "class_names": list(self.class_names),
            "details": dict(self.details),
        }

    def to_bytes(self) -> bytes:
        """Return the content of a safetensors file with all of it."""
        tensors, settings = classifier_tensors(self.classifier)
        return HEAD_FILE.to_bytes({**self.to_dict(), "settings": settings}, tensors)

    def save(self, path: Path | str) -> None:
        """Write the head as a safetensors file; what is there is replaced.

        Args:
            path: The file; its directory must exist.

        Raises:
            OSError: If it cannot be written.
        """
        write_bytes(Path(path), self.to_bytes())

    @classmethod
    def load(cls, path: Path | str) -> "Head":
        """Return the head that a file holds.

        Args:
            path: The file.

        Returns:
            The head.

        Raises:
            InputError: If it cannot be read, is no head, or is damaged.
        """
        return HEAD_FILE.read(Path(path), _head)


def _head(about: About, tensors: Tensors) -> Head:
    """Return the head of a file's parts; raise what shows that they do not fit together."""
    texts = ("method", "model", "space_id")
    kinds = {**dict.fromkeys(texts, str), "class_names": list, "settings": dict, "details": dict}
    check_types(about, kinds)
    names, settings = about["class_names"], about["settings"]
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError("its class names are no list of texts")
    return Head(
        **{text: about[text] for text in texts},
        class_names=tuple(names),
        classifier=read_classifier(tensors, settings, len(names)),
        details=about["details"],
    )


class HeadClassifier(ImageClassifier):
    """Ranks the classes of a head for images, as :class:`ZeroShotClassifier` does by their names.

    Args:
        encoder: The model that the head was fitted on.
        head: The head.

    Raises:
        InputError: If the encoder is none.
        SpaceMismatchError: If the head is of another model.
    """

    multi_label = False  # the classes of a head share one softmax

    def __init__(self, encoder: Encoder, head: Head) -> None:
        check_kind(encoder, "encode_images", ENCODER_RULE)
        head.check_space(encoder.space_id, encoder.name)
        super().__init__(encoder)
        self.head = head

    @property
    def labels(self) -> list[str]:
        """The class names."""
        return list(self.head.class_names)

    def scores(self, image_embeddings: Embeddings) -> NDArray[np.float32]:
        """Return the probability of every class for every image.

        Args:
            image_embeddings: Shape (M, D), rows of norm 1, of the head's space.

        Returns:
            float32, shape (M, C), rows that sum to 1, columns as in `labels`.

        Raises:
            InputError: If the shapes do not fit, or rows are not of norm 1.
            SpaceMismatchError: If the embeddings know that they are of another space.
        """
        space_id = common_space(image_embeddings)
        if space_id is not None:
            self.head.check_space(space_id, "another model")
        rows = check_embeddings(image_embeddings)
        dim = self.head.classifier.weights.shape[1]
        if rows.shape[1] != dim:
            raise InputError(f"the head takes embeddings of shape (M, {dim}), got {rows.shape}")
        logits = self.head.classifier.logits(rows)
        return np.exp(-label_log_losses(logits, Scoring(0.0, None))).astype(np.float32)

    @property
    def _ranked_labels(self) -> list[str]:
        return self.labels

    def _ranked(self, image_embeddings: Embeddings) -> NDArray[np.float32]:
        return self.scores(image_embeddings)
