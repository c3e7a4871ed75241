"""The concepts that a user has taught: one file each, in the user's data directory.

Each model has its own concept of a name. The file of one is found by its name and space alone, so
that no list of them has to be kept in step.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

from clipkit.adaptation.concept import SUFFIX, Concept, check_concept_name
from clipkit.errors import InputError
from clipkit.files import is_draft
from clipkit.paths import concepts_directory, readable_name


class StoredConcepts(NamedTuple):
    """What a store holds."""

    concepts: list[Concept]  # by name, then by model
    damaged: list[InputError]  # why a file is none of them


class ConceptStore:
    """A directory of concepts.

    Args:
        directory: Where they lie; None for the user's data directory. It need not exist.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = concepts_directory() if directory is None else directory

    def load(self) -> StoredConcepts:
        """Return all concepts, and what is wrong with files that are none."""
        concepts, damaged = [], []
        for path in sorted(self.directory.glob(f"*{SUFFIX}")):
            if is_draft(path):
                continue
            try:
                concepts.append(Concept.load(path))
            except InputError as error:
                damaged.append(error)
        concepts.sort(key=lambda concept: (concept.name.casefold(), concept.name, concept.model))
        return StoredConcepts(concepts, damaged)

    def find(self, name: str) -> list[Concept]:
        """Return the concepts of a name, one for each model that it was taught with.

        Args:
            name: As it was taught, in upper and lower case.

        Returns:
            One at least.

        Raises:
            InputError: If there is none.
        """
        stored = self.load()
        found = [concept for concept in stored.concepts if concept.name == name.strip()]
        if not found:
            known = ", ".join(dict.fromkeys(concept.name for concept in stored.concepts))
            has = f"there are {known}" if known else "none was taught so far"
            raise InputError(f"there is no concept {name!r}: {has}; clipkit teach makes one")
        return found

    def path(self, name: str, space_id: str) -> Path:
        """Return the file for a concept of a name and a space, whether or not it exists."""
        digest = hashlib.sha256(f"{name}\0{space_id}".encode()).hexdigest()[:16]
        return self.directory / f"{readable_name(name, fallback='concept')}-{digest}{SUFFIX}"

    def check_free(self, name: str, space_id: str) -> None:
        """Refuse a name that is taken; call it before the work.

        Args:
            name: The name.
            space_id: Of the model.

        Raises:
            InputError: If that model has a concept of that name, or it cannot be one.
        """
        path = self.path(check_concept_name(name), space_id)
        if path.exists():
            raise InputError(
                f"the concept {name.strip()} is there already: choose another name, or say "
                "--replace (replace=True) to teach it anew"
            )

    def save(self, concept: Concept, *, replace: bool = False) -> Path:
        """Write a concept; a kill meanwhile leaves what was there.

        Args:
            concept: The concept.
            replace: Whether one of that name and model may go.

        Returns:
            Its file.

        Raises:
            InputError: If the name is taken.
            OSError: If it cannot be written.
        """
        if not replace:
            self.check_free(concept.name, concept.space_id)
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.path(concept.name, concept.space_id)
        concept.save(path)
        return path

    def remove(self, concept: Concept) -> None:
        """Delete the file of a concept.

        Args:
            concept: One of this store's.

        Raises:
            OSError: If it cannot be deleted.
        """
        self.path(concept.name, concept.space_id).unlink(missing_ok=True)
