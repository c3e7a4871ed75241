"""Labelled image embeddings of OpenAI's CLIP with their classes' texts, to adapt on.

None of it is part of this repository: all is read from the folder that stored_sets.py names.

Shapes: N images, C classes, D dimensions.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from relevance_collections import FOLDERS
from stored_sets import cifar, coco, mixed_photos

from clipkit.embeddings import Embeddings, normalize_rows

CLIP_LOGIT_SCALE = 100.0  # of OpenAI's models, as published
_MIN_IMAGES = 2  # of a class: one to learn from, one to measure on
# LVIS's names for the classes of CIFAR, in its order (it has no ship), and of the four folders.
_OF_CIFAR = "airplane car_(automobile) bird cat deer dog frog horse boat truck"
_OF_FOLDERS = {"cat": "cat", "dog": "dog", "bicycle": "bicycle", "car": "car_(automobile)"}


@dataclass(frozen=True)
class EmbeddedSet:
    """Images of one class each, and the texts of the classes, of one model; rows have norm 1."""

    name: str
    model: str
    images: Embeddings  # (N, D)
    labels: NDArray[np.intp]  # (N,), in 0..C-1
    class_names: list[str]
    texts: Embeddings  # of one prompt a class, (C, D)
    ensemble_texts: Embeddings  # the mean over several, (C, D)
    logit_scale: float = CLIP_LOGIT_SCALE
    # The images to learn from, if that is given: all others are to measure on. None: draw them.
    train: NDArray[np.intp] | None = None

    @property
    def counts(self) -> NDArray[np.intp]:
        """How many images each class has, (C,)."""
        return np.bincount(self.labels, minlength=len(self.class_names))

    def accuracy(self, texts: Embeddings) -> float:
        """Return the top-1 accuracy of class embeddings on all images but those to learn from."""
        rows = np.setdiff1d(np.arange(len(self.labels)), [] if self.train is None else self.train)
        predicted = (self.images[rows] @ texts.T).argmax(axis=1)
        return float((predicted == self.labels[rows]).mean())


def read_embedded_sets(folder: Path) -> list[EmbeddedSet]:
    """Return the sets of a folder of published embeddings.

    Args:
        folder: With the files of stored_sets.py.

    Returns:
        CIFAR-10, four folders of photographs, COCO's photographs that show one class, and CIFAR-10
        again with LVIS's prototypes, of five photographs each, as the one image to learn from.
    """
    of_cifar = _cifar(folder)
    return [of_cifar, _four_folders(folder), _coco(folder), _prototypes(folder, of_cifar)]


def _cifar(folder: Path) -> EmbeddedSet:
    stored = cifar(folder)
    texts = _of_lvis(folder, "text_gpt3_mean", _OF_CIFAR.split())
    labels = stored.shows.argmax(axis=1)
    names = stored.class_names
    return EmbeddedSet(
        "CIFAR-10", "CLIP ViT-B/32", stored.images, labels, names, stored.texts, texts
    )


def _four_folders(folder: Path) -> EmbeddedSet:
    stored = mixed_photos(folder)
    rows = np.flatnonzero(stored.shows.any(axis=1))
    names = [FOLDERS[name] for name in stored.class_names]
    texts = _of_lvis(folder, "text_gpt3_mean", [_OF_FOLDERS[name] for name in names])
    return EmbeddedSet(
        "four folders",
        "CLIP ViT-B/32",
        stored.images[rows],
        stored.shows[rows].argmax(axis=1),
        names,
        stored.texts,
        texts,
    )


def _coco(folder: Path) -> EmbeddedSet:
    """Return the photographs of exactly one class, of classes that have at least two such."""
    stored = coco(folder)
    alone = stored.shows & (stored.shows.sum(axis=1) == 1)[:, None]
    classes = np.flatnonzero(alone.sum(axis=0) >= _MIN_IMAGES)
    rows = np.flatnonzero(alone[:, classes].any(axis=1))
    with np.load(folder / "coco500_vitb16.npz") as file:
        ensemble = normalize_rows(file["class_text_ensemble"])
    return EmbeddedSet(
        "COCO, one class",
        "CLIP ViT-B/16",
        stored.images[rows],
        alone[np.ix_(rows, classes)].argmax(axis=1),
        [stored.class_names[place] for place in classes],
        stored.texts[classes],
        ensemble[classes],
    )


def _prototypes(folder: Path, images: EmbeddedSet) -> EmbeddedSet:
    """Return CIFAR-10 after the prototypes of its classes, which are what to learn from."""
    prototypes = _of_lvis(folder, "image_prototype_k5", _OF_CIFAR.split())
    classes = np.arange(len(prototypes))
    return EmbeddedSet(
        "CIFAR-10 from LVIS",
        images.model,
        np.concatenate([prototypes, images.images]),
        np.concatenate([classes, images.labels]),
        images.class_names,
        images.texts,
        images.ensemble_texts,
        train=classes,
    )


def _of_lvis(folder: Path, array: str, names: list[str]) -> Embeddings:
    """Return the rows of an array of LVIS's for its names, (C, D)."""
    with np.load(folder / "lvis1203_vitb32.npz") as file:
        known = file["names"].tolist()
        return normalize_rows(file[array][[known.index(name) for name in names]])
