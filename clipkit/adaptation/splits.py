"""Few-shot splits: which labelled images a model is adapted with, and which it is measured on.

Shapes: N images, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import quoted
from clipkit.errors import InputError

TEST_SHARE = 1 / 3  # of the images of a class, where no test images are given


@dataclass(frozen=True)
class Split:
    """Rows of labelled images to adapt with, and others to measure on."""

    seed: int  # that they were drawn with
    train: NDArray[np.intp]  # ascending
    test: NDArray[np.intp]  # ascending; none of them is in train

    def few(self, labels: NDArray[np.intp], shots: int) -> "Split":
        """Return the split with so many training images a class.

        Args:
            labels: The class of every image, shape (N,).
            shots: Images a class; of a class with fewer all are taken. More shots have all the
                images that fewer have.

        Returns:
            Another split, of the same test images.
        """
        chosen = choose_shots(labels[self.train], shots, self.seed)
        return Split(self.seed, self.train[chosen], self.test)


def draw_splits(
    labels: NDArray[np.intp], class_names: Sequence[str], seeds: Sequence[int]
) -> list[Split]:
    """Return splits of images into those to adapt with and those to measure on, class by class.

    Args:
        labels: The class of each image, shape (N,).
        class_names: C names, for messages.
        seeds: One split each.

    Returns:
        The splits: of each class TEST_SHARE of the images are for measuring, at least one.

    Raises:
        InputError: If a class has one image only.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    single = [name for name, count in zip(class_names, counts, strict=True) if count < 2]
    if single:
        raise InputError(
            f"{len(single)} of {len(counts)} classes have fewer than two images that can be read: "
            f"{quoted(single)}; each needs one to adapt with and one to measure on: add images, "
            "leave these classes out, or give test images of their own (--test)"
        )
    splits = []
    for seed in seeds:
        tested = np.maximum(1, np.round(counts * TEST_SHARE)).astype(np.intp)
        place = _places(labels, seed)
        is_test = place < tested[labels]
        splits.append(Split(seed, np.flatnonzero(~is_test), np.flatnonzero(is_test)))
    return splits


def choose_shots(labels: NDArray[np.intp], shots: int, seed: int) -> NDArray[np.intp]:
    """Return rows with so many images of each class, drawn at random.

    Args:
        labels: The class of each image, shape (N,).
        shots: Images a class, at least 1; of a class with fewer all are taken.
        seed: Equal seeds draw equally, and more shots have all that fewer have.

    Returns:
        Row numbers, ascending.

    Raises:
        InputError: If shots is less than 1.
    """
    if shots < 1:
        raise InputError(f"shots must be at least 1 image a class, got {shots}")
    return np.flatnonzero(_places(labels, seed) < shots)


def _places(labels: NDArray[np.intp], seed: int) -> NDArray[np.intp]:
    """Return the place of each image among those of its class in a random order, from 0."""
    order = np.random.default_rng(seed).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    _, starts, counts = np.unique(labels[by_class], return_index=True, return_counts=True)
    places = np.empty(len(labels), dtype=np.intp)
    places[by_class] = np.arange(len(labels)) - np.repeat(starts, counts)
    return places
