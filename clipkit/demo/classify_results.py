"""What was found of images, as it stays on the server, goes to the browser, and is downloaded."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import clipkit
from clipkit.demo.classify_images import ImageSource
from clipkit.demo.image_store import ImageStore, small

IN_DETAIL, IN_TABLE, OF_MANY = 20, 3, 5  # labels of an image: alone, in a row, kept of many images
GIVEN = 0.5  # the score from which on a label that is scored on its own applies
FEW = 50  # images of which as much is kept as is shown of one

Ranked = tuple[tuple[str, float], ...]
"""Labels with their scores, 0..1, best first."""


@dataclass(frozen=True)
class ClassifiedImage:
    """One image and what it shows, or why it could not be read."""

    source: ImageSource
    ranked: Ranked = ()
    num_given: int = 0  # how many of the labels count as given
    lack: str = ""


@dataclass(frozen=True)
class ClassifyState:
    """A visitor's last classification; it stays on the server."""

    images: tuple[ClassifiedImage, ...] = ()
    shown: int = 0  # the place of the image that is shown in detail

    @property
    def detail(self) -> ClassifiedImage | None:
        """The image that is shown in detail; None if there is none."""
        return self.images[self.shown] if self.images else None

    def show(self, place: int) -> "ClassifyState":
        """Return the same with another image in detail."""
        return replace(self, shown=place)


def classified(
    source: ImageSource, scores: Sequence[clipkit.LabelScore], *, are_independent: bool
) -> ClassifiedImage:
    """Return an image with the scores of its labels.

    Args:
        source: The image.
        scores: The best first.
        are_independent: Whether each label was scored on its own: then those from 0.5 on are given,
            and else the first.

    Returns:
        The image.
    """
    ranked = tuple((item["label"], item["score"]) for item in scores)
    given = sum(score >= GIVEN for _, score in ranked) if are_independent else 1
    return ClassifiedImage(source, ranked, given)


def key_of(source: ImageSource, images: ImageStore) -> str:
    """Return the id of an image, for the browser."""
    if isinstance(source.content, Path):
        return images.admit(source.content)
    return source.content


def table_row(image: ClassifiedImage, images: ImageStore) -> dict[str, Any]:
    """Return an image as the table in the browser takes it."""
    return {
        "image": small(key_of(image.source, images)),
        "file": image.source.name,
        "labels": _shown(image.ranked[: max(IN_TABLE, image.num_given)]),
        "given": image.num_given,
        "lack": image.lack,
    }


def detail_of(image: ClassifiedImage, images: ImageStore) -> dict[str, Any]:
    """Return an image as the view of one image in the browser takes it."""
    return {
        "image": key_of(image.source, images),
        "file": image.source.name,
        "labels": _shown(image.ranked),
        "lack": image.lack,
        "map": None,
    }


def _shown(some: Ranked) -> list[list[Any]]:
    return [[label, round(score, 4)] for label, score in some]


def csv_of(state: ClassifyState) -> str:
    """Return all images with their best labels as ``clipkit classify --csv`` writes them."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["path", "label", "score"])
    for image in state.images:
        for label, score in image.ranked:
            rows.writerow([image.source.name, label, f"{score:.6f}"])
    return text.getvalue()
