"""The concepts that a user has taught: one file each, in the user's data directory.

Each model has its own concept of a name. The file of one is found by its name and space alone, so
that no list of them has to be kept in step.
"""

import errno
import hashlib
import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from clipkit.adaptation.concept import SUFFIX, Concept, check_concept_name
from clipkit.arguments import quoted
from clipkit.errors import InputError
from clipkit.files import is_draft, write_bytes
from clipkit.paths import concepts_directory, readable_name


class StoredConcepts(NamedTuple):
    """What a store holds."""

    concepts: list[Concept]  # by name, then by model
    damaged: list[InputError]  # why a file is none of them, or the directory cannot be read


class ConceptStore:
    """A directory of concepts.

    Args:
        directory: Where they lie; None for the user's data directory. It need not exist.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = concepts_directory() if directory is None else directory

    def load(self) -> StoredConcepts:
        """Return all concepts, and what is wrong with files that are none."""
        concepts: list[Concept] = []
        damaged: list[InputError] = []
        try:
            names = sorted(os.listdir(self.directory))  # noqa: PTH208 - glob hides its errors
        except FileNotFoundError:
            return StoredConcepts(concepts, damaged)
        except OSError as error:
            why = f"concepts in {self.directory} cannot be read: {error.strerror or error}"
            return StoredConcepts(concepts, [InputError(why)])
        for path in map(self.directory.joinpath, names):
            if path.suffix != SUFFIX or is_draft(path):
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
        wanted = unicodedata.normalize("NFC", name.strip())  # as names are kept
        found = [concept for concept in stored.concepts if concept.name == wanted]
        if not found:
            known = list(dict.fromkeys(concept.name for concept in stored.concepts))
            has = f"there are {quoted(known)}" if known else "none was taught so far"
            if stored.damaged:
                has = f"{len(stored.damaged)} could not be read ({stored.damaged[0]})"
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
        if self.path(check_concept_name(name), space_id).exists():
            raise _taken(name)

    def check_writable(self) -> None:
        """Make the directory and refuse one that cannot be written to; call it before the work.

        Raises:
            InputError: If it cannot be made or written to.
        """
        with self._writing():
            self.directory.mkdir(parents=True, exist_ok=True)
            if not os.access(self.directory, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(
                f"concepts cannot be kept in {self.directory} ({error.strerror or error}): set "
                "CLIPKIT_HOME to a directory that can be written"
            ) from error

    def save(self, concept: Concept, *, replace: bool = False) -> Path:
        """Write a concept; a kill meanwhile leaves what was there.

        Args:
            concept: The concept.
            replace: Whether one of that name and model may go.

        Returns:
            Its file.

        Raises:
            InputError: If the name is taken, also by another process meanwhile, or the directory
                cannot be written to.
        """
        check_concept_name(concept.name)
        path = self.path(concept.name, concept.space_id)
        self.check_writable()
        with self._writing():
            try:
                write_bytes(path, concept.to_bytes(), durable=True, replaces=replace)
            except FileExistsError as error:
                raise _taken(concept.name) from error
        return path

    def remove(self, concept: Concept) -> None:
        """Delete the file of a concept.

        Args:
            concept: One of this store's.

        Raises:
            InputError: If it cannot be deleted.
        """
        path = self.path(concept.name, concept.space_id)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(
                f"the concept {concept.name} cannot be removed, for its file {path} cannot: "
                f"{error.strerror or error}"
            ) from error


def _taken(name: str) -> InputError:
    return InputError(
        f"the concept {name.strip()} is there already: choose another name, or say --replace "
        "(replace=True) to put this one in its place"
    )
