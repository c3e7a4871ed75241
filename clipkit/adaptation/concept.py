"""A concept: what some images have in common, under a name, in one file.

Shapes: D dimensions.
"""

import re
import unicodedata
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from clipkit.embeddings import EmbeddingArray, check_embeddings
from clipkit.errors import InputError, SpaceMismatchError
from clipkit.files import write_bytes
from clipkit.models.tensor_file import About, TensorFileKind, Tensors, check_types
from clipkit.search.query import parse_query

SUFFIX = ".safetensors"
CONCEPT_FILE = TensorFileKind("clipkit_concept", "concept", "clipkit teach")
_REFUSED = re.compile(r"[+,:;/\\*?\"<>|]| - ")
_INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")  # categories of characters that nobody sees
_JOINERS = "\u200c\u200d"  # are such ones, and belong to words and emoji
_LONGEST_NAME = 80
_NAME_RULE = (
    'a name is one or several words of at most 80 letters, without + , : ; / \\ * ? " < > | and '
    "without a lone - and invisible characters, since it stands for a word in queries and lists of "
    "labels"
)


@dataclass(frozen=True, eq=False)
class Concept:
    """What some images have in common, as an embedding that is used like that of a word.

    :func:`clipkit.teach` makes one. Its embedding is a part of a query, ``QueryPart(rex.embedding,
    weight)``, or a label, ``ZeroShotClassifier(encoder, {"Rex": rex.embedding, "dog": None})``.
    """

    name: str
    embedding: EmbeddingArray  # shape (D,), norm 1, in the cone of the texts
    model: str  # the model's name, as it was resolved
    space_id: str  # of the model
    kind: str | None  # what kind of thing it was said to be
    num_images: int  # that it was taught from
    num_negatives: int  # images of other things, likewise
    has_center: bool  # whether it was told from the images of an indexed folder
    created: str  # UTC, as in 2026-01-31T12:00:00+00:00
    clipkit_version: str

    def check_space(self, space_id: str, model: str) -> None:
        """Refuse to be used with another model.

        Args:
            space_id: Of the model.
            model: Its name.

        Raises:
            SpaceMismatchError: If it is of another space.
        """
        if space_id != self.space_id:
            way_out = f", or load {self.model}"
            if model == self.model:
                way_out = f"; {model} has other weights or settings than it had then"
            raise SpaceMismatchError(
                f"the concept {self.name} was taught with {self.model} (space {self.space_id}), "
                f"and the model is {model} (space {space_id}): teach it with that model too, with "
                f'clipkit teach "{self.name}" … --model {model}{way_out}'
            )

    def to_dict(self) -> dict[str, object]:
        """Return what is known of it as what JSON takes, without the embedding."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name != "embedding"
        }

    def to_bytes(self) -> bytes:
        """Return the content of a safetensors file with all of it."""
        return CONCEPT_FILE.to_bytes(self.to_dict(), {"embedding": np.asarray(self.embedding)})

    def save(self, path: Path | str) -> None:
        """Write the concept as a safetensors file; what is there is replaced.

        Args:
            path: The file; its directory must exist.

        Raises:
            OSError: If it cannot be written; what was there stays.
        """
        write_bytes(Path(path), self.to_bytes(), durable=True)

    @classmethod
    def load(cls, path: Path | str) -> "Concept":
        """Return the concept that a file holds.

        Args:
            path: The file.

        Returns:
            The concept.

        Raises:
            InputError: If it cannot be read, is no concept, or is damaged.
        """
        return CONCEPT_FILE.read(Path(path), _concept)


def check_concept_name(name: object) -> str:
    """Return the name of a concept as it is kept.

    Args:
        name: What should be one.

    Returns:
        The name in Unicode's composed form, as it is typed, with single spaces between words.

    Raises:
        InputError: If it is empty or no text, or would not read as words in a query or as one
            label of several.
    """
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"a concept needs a name, got {name!r}: {_NAME_RULE}")
    composed = unicodedata.normalize("NFC", name.strip())
    spaced = "".join(" " if unicodedata.category(char) == "Zs" else char for char in composed)
    words = " ".join(filter(None, spaced.split(" ")))
    is_visible = all(
        char in _JOINERS or unicodedata.category(char) not in _INVISIBLE for char in words
    )
    is_refused = bool(_REFUSED.search(words)) or words[:1] in "-.~#"
    if len(words) > _LONGEST_NAME or is_refused or not is_visible:
        raise InputError(f"{words!r:.120} cannot be the name of a concept: {_NAME_RULE}")
    try:
        parse_query(words)
    except InputError as error:
        raise InputError(f"{words!r} cannot be the name of a concept: {error}") from error
    return words


def _concept(about: About, tensors: Tensors) -> Concept:
    """Return the concept of a file's parts; raise what shows that they do not fit together."""
    types: dict[str, type | tuple[type, ...]] = {
        "name": str,
        "model": str,
        "space_id": str,
        "kind": (str, type(None)),
        "num_images": int,
        "num_negatives": int,
        "has_center": bool,
        "created": str,
        "clipkit_version": str,
    }
    check_types(about, types)
    rows = tensors["embedding"]
    if rows.ndim != 1:
        raise ValueError("it has no embedding of shape (D,)")
    check_concept_name(about["name"])
    row = check_embeddings(rows[None, :], "its embedding")[0]
    known = {field: about[field] for field in types}
    return Concept(embedding=EmbeddingArray(row, about["space_id"]), **known)
