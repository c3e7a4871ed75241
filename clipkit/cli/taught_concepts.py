"""Names of taught concepts in what a person types: only the command line knows them."""

import argparse
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clipkit.cli.concept_hints import hint_for_label, hint_for_text
from clipkit.cli.terminal import note
from clipkit.errors import InputError
from clipkit.paths import concepts_directory, expand_home
from clipkit.plain_text import visible
from clipkit.search.query import Query, QueryPart

if TYPE_CHECKING:
    from clipkit.adaptation.concept import Concept
    from clipkit.cli.label_arguments import GivenLabels
    from clipkit.encoder.encoder import Encoder
    from clipkit.zero_shot.labels import Label

_SHIELDED = re.compile(r"(?:(?:\d+(?:\.\d*)?|\.\d+):)?\s(.*)", re.DOTALL)  # by a space in front
# A file of a concept in a query: after a weight, and without a space in front.
_FILE = re.compile(r"(?:(?:\d+(?:\.\d*)?|\.\d+):)?(\S.*\.safetensors)\s*", re.IGNORECASE)


def add_concept_option(parser: "argparse._ActionsContainer") -> None:
    """Add --no-concepts."""
    parser.add_argument(
        "--no-concepts",
        action="store_true",
        help="take the names of taught concepts (clipkit concepts) for words too",
    )


class TaughtConcepts:
    """The concepts that words of a command may name.

    Args:
        arguments: As parsed, with no_concepts.
        typed: The words; those that end in .safetensors are files of concepts.

    Raises:
        InputError: If such a file is no concept.
    """

    def __init__(self, arguments: argparse.Namespace, typed: Iterable[str]) -> None:
        words = list(typed)
        self._by_name = {} if arguments.no_concepts else _read(words)
        self._shielded = {match[1].strip() for word in words if (match := _SHIELDED.match(word))}

    @property
    def embeddings(self) -> Mapping[str, NDArray[np.floating]]:
        """What `parse_query` needs to know names: an embedding each, of any model."""
        return {name: concepts[0].embedding for name, concepts in self._by_name.items()}

    def in_space(self, query: Query | None, encoder: "Encoder") -> Query | None:
        """Return a query with the concepts that were taught with a model, and say so.

        Args:
            query: As parsed with `embeddings`.
            encoder: The model that is searched with.

        Returns:
            The query.

        Raises:
            SpaceMismatchError: If a concept was taught with other models only.
        """
        if query is None or not self._by_name:
            return query
        parts = []
        for part in query.parts:
            if part.name is not None:
                concept = self._of(part.name, encoder)
                note(_line(part.name, concept, f'put a space in front, as in " {part.name}"'))
                part = replace(part, content=concept.embedding, name=concept.name)
            elif self._is_text(part):
                _note(hint_for_text(str(part.content), self._usable(encoder)))
            parts.append(part)
        return Query(tuple(parts))

    def labels(self, given: "GivenLabels", encoder: "Encoder") -> "GivenLabels | dict[str, Label]":
        """Return labels of which some are concepts, and say so.

        Args:
            given: Labels; those with prompts of their own stay as they are.
            encoder: The model that is classified with.

        Returns:
            The same if all are words; else by label its embedding, or None.

        Raises:
            SpaceMismatchError: If a concept was taught with other models only.
        """
        if isinstance(given, dict):
            return given
        for name in given:
            if name not in self._by_name:
                _note(hint_for_label(name, self._usable(encoder)))
        if self._by_name.keys().isdisjoint(given):
            return given
        found: dict[str, Label] = {}
        for name in given:
            if name not in self._by_name:
                found[name] = None
                continue
            concept = self._of(name, encoder)
            found[concept.name] = concept.embedding
            note(_line(name, concept, "say --no-concepts"))
        return found

    def _is_text(self, part: QueryPart) -> bool:
        """Return whether a part is words that no space in front marks as such."""
        is_text = isinstance(part.content, str) and not part.is_image
        return is_text and part.content not in self._shielded

    def _usable(self, encoder: "Encoder") -> list[str]:
        """Return the names of what was taught with a model, files apart."""
        return [
            name
            for name, concepts in self._by_name.items()
            if not _FILE.fullmatch(name)
            and any(concept.space_id == encoder.space_id for concept in concepts)
        ]

    def _of(self, name: str, encoder: "Encoder") -> "Concept":
        """Return the concept of a name and a model's space."""
        concepts = self._by_name[name]
        for concept in concepts:
            if concept.space_id == encoder.space_id:
                return concept
        concepts[0].check_space(encoder.space_id, encoder.name)
        raise AssertionError("unreachable: the space differs")


def _read(typed: Iterable[str]) -> "dict[str, list[Concept]]":
    """Return the concepts that are kept, and those of files that were typed, by name."""
    files = [match[1] for word in typed if (match := _FILE.fullmatch(word))]
    if not files and not concepts_directory().is_dir():
        return {}  # as for most users: nothing more is imported
    from clipkit.adaptation.concept import Concept
    from clipkit.adaptation.concept_store import ConceptStore

    found: dict[str, list[Concept]] = {}
    stored = ConceptStore().load()
    for error in stored.damaged:
        note(f"clipkit: {error}")
    for concept in stored.concepts:
        found.setdefault(concept.name, []).append(concept)
    for name in files:
        path = expand_home(name)
        if not path.exists():
            raise InputError(
                f"{name}: there is no such file of a concept; to take it for words, put a space in "
                "front, or say --no-concepts"
            )
        found[name] = [Concept.load(path)]
    return found


def _note(hint: str) -> None:
    if hint:
        note(hint)


def _line(name: str, concept: "Concept", way_out: str) -> str:
    images = "1 image" if concept.num_images == 1 else f"{concept.num_images} images"
    return f"{visible(name)} is taken for the concept taught from {images}; for words, {way_out}"
