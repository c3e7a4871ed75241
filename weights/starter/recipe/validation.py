"""The validation set: everyday photographs and queries that choices of training are measured on.

Photographs, drawings and screenshots of registry packages that no other measurement stands on,
labelled by looking at each one before any model saw them, and queries of seven kinds as people
type them. They are for measuring only: never trained on, never shipped. What is chosen by them is
chosen on them, so a final figure is to come from other collections (``benchmarks/``).
"""

from __future__ import annotations

from pathlib import Path

from recipe.labelled import (
    LabelledPhoto,
    LabelledQuery,
    fetch_labelled,
    read_evaluation_packages,
    read_labelled_queries,
    read_photo_lines,
    true_matches,
)
from recipe.packages import Cache

__all__ = ["KINDS", "read_validation", "read_validation_queries", "true_matches"]

PHOTOS_FILE = Path(__file__).with_name("validation_photos.txt")
PACKAGES_FILE = Path(__file__).with_name("validation_packages.txt")
QUERIES_FILE = Path(__file__).with_name("validation_queries.txt")
KINDS = (
    "noun",
    "colour and noun",
    "style",
    "scene",
    "people",
    "small subject",
    "kind of picture",
)


def read_validation(cache: Cache) -> list[LabelledPhoto]:
    """Return the labelled photographs in the order of their file; what the cache lacks is fetched.

    Raises:
        RecipeError: If a package cannot be fetched or is not the one that was labelled.
    """
    packages = read_evaluation_packages(PACKAGES_FILE)
    return fetch_labelled(read_photo_lines(PHOTOS_FILE), packages, cache)


def read_validation_queries() -> list[LabelledQuery]:
    """Return the queries in the order of their file, each with its kind, one of `KINDS`."""
    return read_labelled_queries(QUERIES_FILE)
