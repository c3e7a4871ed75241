"""Test images that are in the training data too: as the same file, or as a copy of it.

Shapes: N test images, M training images, D dimensions.
"""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from clipkit.data.overlap import shared_images
from clipkit.data.pair import PairDataset
from clipkit.embeddings import Embeddings
from clipkit.encoder.embedded_images import EmbeddedImages
from clipkit.errors import ImageReadError
from clipkit.inputs.perceptual_hash import read_pyramid
from clipkit.search.duplicates.pixel_comparison import is_copy

_BLOCK = 2048  # test images compared with all training images at once
_NEAR = 0.85  # cosine from which two images are opened; copies of real photographs have .9 and more
_COMPARED = 3  # training images that a test image is compared with, nearest first


@dataclass(frozen=True)
class NearDuplicate:
    """A test image that is in the training data as well, as the same file or as a copy."""

    test: str
    train: str
    cosine: float


def find_leaks(
    train: tuple[PairDataset, EmbeddedImages], test: tuple[PairDataset, EmbeddedImages]
) -> tuple[NearDuplicate, ...]:
    """Return the test images that a model could have seen in training.

    Files of equal bytes are found; and of images with a cosine of .85 or more the pixels are
    compared, which tells copies that were resized, cropped or compressed again from other images of
    the same things.

    Args:
        train: A dataset and its embeddings.
        test: Another.

    Returns:
        Each test image that is in the training data, with the training image it was found by.
    """
    (train_data, trained), (test_data, tested) = train, test
    same = {*shared_images(train_data, test_data)}
    found = []
    for row, others, cosines in _nearest(trained.embeddings, tested.embeddings):
        test_row = int(tested.rows[row])
        name = test_data.local_name(test_row)
        for other, cosine in zip(others, cosines, strict=True):
            train_row = int(trained.rows[other])
            is_same = name in same and cosine > 1 - 1e-3
            if is_same or _is_copy(test_data, test_row, train_data, train_row):
                found.append(NearDuplicate(name, train_data.local_name(train_row), float(cosine)))
                break
    return tuple(found)


def _nearest(trained: Embeddings, tested: Embeddings) -> list[tuple[int, list[int], list[float]]]:
    """Return for each test image that is near one the rows of the nearest training images."""
    found = []
    for start in range(0, len(tested), _BLOCK):
        cosines = tested[start : start + _BLOCK] @ trained.T
        for row in np.flatnonzero(cosines.max(axis=1) >= _NEAR).tolist():
            order = np.argsort(-cosines[row], kind="stable")[:_COMPARED]
            near = order[cosines[row, order] >= _NEAR]
            found.append((start + row, near.tolist(), cosines[row, near].tolist()))
    return found


def _is_copy(first: PairDataset, row: int, second: PairDataset, other: int) -> bool:
    with suppress(ImageReadError):  # it was readable when it was embedded
        return is_copy(read_pyramid(first[row].image), read_pyramid(second[other].image))
    return False
