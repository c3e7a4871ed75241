"""A concept: what some images have in common, under a name, in one file.

Shapes: D dimensions.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_tensors

from clipkit.embeddings import EmbeddingArray, check_embeddings
from clipkit.errors import InputError, SpaceMismatchError
from clipkit.files import write_bytes
from clipkit.search.query import parse_query

SUFFIX = ".safetensors"
_FORMAT, _VERSION = "clipkit_concept", "1"
_REFUSED = re.compile(r"[+,:;/\\*?\"<>|\x00-\x1f]| - ")
_LONGEST_NAME = 80
_NAME_RULE = (
    'a name is one or several words of at most 80 letters, without + , : ; / \\ * ? " < > | and '
    "without a lone -, since it stands for a word in queries and lists of labels"
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
            raise SpaceMismatchError(
                f"the concept {self.name} was taught with {self.model} (space {self.space_id}), "
                f"and the model is {model} (space {space_id}): teach it with that model too, with "
                f'clipkit teach "{self.name}" … --model {model}, or load {self.model}'
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
        about = {_FORMAT: _VERSION, "about": json.dumps(self.to_dict(), ensure_ascii=False)}
        content: bytes = save_tensors({"embedding": np.asarray(self.embedding)}, about)
        return content

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
        path = Path(path)
        try:
            path.open("rb").close()  # its errors have a reason that safetensors' have not
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                has_embedding = "embedding" in file.keys()  # noqa: SIM118 - it is no mapping
                rows = file.get_tensor("embedding") if has_embedding else None
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
        except SafetensorError as error:
            raise InputError(
                f"{path} is no concept, or a damaged one: it is no whole safetensors file "
                f"({error}); teach it again with clipkit teach"
            ) from error
        if metadata.get(_FORMAT) != _VERSION:
            raise InputError(
                f'{path} is no concept of this version of clipkit, which has "{_FORMAT}": '
                f'"{_VERSION}" in its metadata: clipkit teach writes one'
            )
        try:
            return _concept(json.loads(metadata["about"]), rows)
        except (KeyError, ValueError, TypeError, RecursionError) as error:
            raise InputError(
                f"{path} is a damaged concept: {error}; teach it again with clipkit teach"
            ) from error


def check_concept_name(name: object) -> str:
    """Return the name of a concept without outer spaces.

    Args:
        name: What should be one.

    Returns:
        The name.

    Raises:
        InputError: If it is empty or no text, or would not read as words in a query or as one
            label of several.
    """
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"a concept needs a name, got {name!r}: {_NAME_RULE}")
    words = name.strip()
    if len(words) > _LONGEST_NAME or _REFUSED.search(words) or words[0] in "-.~#":
        raise InputError(f"{words!r:.120} cannot be the name of a concept: {_NAME_RULE}")
    try:
        parse_query(words)
    except InputError as error:
        raise InputError(f"{words!r} cannot be the name of a concept: {error}") from error
    return words


def _concept(about: Mapping[str, Any], rows: Any) -> Concept:
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
    for field, expected in types.items():
        if not isinstance(about[field], expected):
            raise ValueError(f'its "{field}" is {about[field]!r:.60}')
    if rows is None or rows.ndim != 1:
        raise ValueError("it has no embedding of shape (D,)")
    check_concept_name(about["name"])
    row = check_embeddings(rows[None, :], "its embedding")[0]
    known = {field: about[field] for field in types}
    return Concept(embedding=EmbeddingArray(row, about["space_id"]), **known)
