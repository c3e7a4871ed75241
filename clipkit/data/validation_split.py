"""Splitting datasets into training and validation pairs without images in common."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit.data.equal_images import equal_images
from clipkit.data.mixing import ConcatenatedPairs, PairSubset
from clipkit.data.pair import PairDataset
from clipkit.errors import ImageReadError, InputError
from clipkit.inputs.images import borrow_image
from clipkit.inputs.metadata import read_metadata


def split_pairs(
    datasets: Sequence[PairDataset], fraction: float, seed: int
) -> tuple[list[PairSubset], list[PairSubset]]:
    """Return the pairs of each dataset to train on and those to validate on.

    Images of equal bytes are in the same split, whichever datasets they are in, so that nothing
    leaks from one split to the other. Of each class of a dataset with two different images, one
    at least is in each split, unless these are in other classes or datasets too.

    Images are ordered by a hash of the seed and of their names in their datasets, and the first
    are for validation. So adding, deleting or changing an image moves, besides itself and those
    equal to it before or after, at most one other image of each class that these are in, to keep
    the fraction. Files that are no images count as different, even with equal bytes: repairing one
    moves nothing, unless it then equals another.

    Args:
        datasets: The pairs, together at least two different images.
        fraction: About which share of each class's images is for validation, above 0 and below 1.
        seed: Equal seeds split equally.

    Returns:
        Training and validation split of each dataset, in its order, maybe empty; the first reports
        what the dataset skipped.

    Raises:
        InputError: If the fraction is out of range, or a split would have no image.
    """
    if not 0 < fraction < 1:
        raise InputError(f"the share for validation must be above 0 and below 1, got {fraction}")
    pairs = ConcatenatedPairs(datasets)
    firsts = _first_rows(pairs)
    images = np.flatnonzero(firsts == np.arange(len(pairs)))  # of equal ones the first
    if len(images) < 2:
        raise InputError(
            f"{len(pairs)} pairs of {len(images)} different images cannot be split: training "
            "and validation need at least one each"
        )
    is_kept = np.zeros(len(pairs), dtype=np.bool_)
    num_classes = 0
    for dataset, end in zip(datasets, pairs.ends.tolist(), strict=True):
        start = end - len(dataset)
        rows = images[(images >= start) & (images < end)] - start
        for members in _by_class(dataset, rows):
            num_classes += 1
            # At least one in each split, where there are two.
            count = min(max(round(fraction * len(members)), 1), len(members) - 1)
            is_kept[start + _shuffled(dataset, members, seed)[:count]] = True
    if not is_kept.any():
        raise InputError(
            f"no class of {num_classes} has two different images, so none can be kept for "
            "validation: add images, or name others by data.validation"
        )
    train, validation = [], []
    parts = np.split(is_kept[firsts], pairs.ends[:-1])
    for dataset, is_validation in zip(datasets, parts, strict=True):
        train.append(PairSubset(dataset, np.flatnonzero(~is_validation), skipped=dataset.skipped))
        validation.append(PairSubset(dataset, np.flatnonzero(is_validation)))
    return train, validation


def _by_class(dataset: PairDataset, rows: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Return the rows of each class; all of them where images have none."""
    labels = np.array([dataset.label(row) or 0 for row in rows.tolist()], dtype=np.int64)
    order = np.argsort(labels, kind="stable")
    bounds = np.flatnonzero(np.diff(labels[order])) + 1
    return np.split(rows[order], bounds) if len(rows) else []


def _shuffled(dataset: PairDataset, rows: NDArray[np.intp], seed: int) -> NDArray[np.intp]:
    """Return rows ordered by a hash of their names, a different one for each seed.

    By their names, not by their numbers: these change when others are added or deleted.
    """
    hashes = b"".join(_hash(dataset.local_name(row), seed) for row in rows.tolist())
    words = np.frombuffer(hashes, dtype=">u8").reshape(len(rows), -1)
    return rows[np.lexsort(words.T[::-1])]  # by the first word, then by the second, …


def _hash(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {name}".encode("utf-8", "surrogatepass")).digest()


def _first_rows(pairs: PairDataset) -> NDArray[np.int64]:
    """Return for each pair the first one with the same image, shape (N,).

    Equal files that are no images count as different: pages that say "not found", or nothing but
    zeros, instead of images.
    """
    firsts = equal_images(pairs)
    if pairs.first_rows() is not None:  # the dataset knows, and an image may be costly to have
        return firsts
    copies = np.flatnonzero(firsts != np.arange(len(pairs)))
    for first in np.unique(firsts[copies]).tolist():
        if not _is_image(pairs, first):
            same = copies[firsts[copies] == first]
            firsts[same] = same
    return firsts


def _is_image(dataset: PairDataset, row: int) -> bool:
    """Return whether a pair has an image; of a file only the header is read."""
    try:
        image = dataset[row].image
        if isinstance(image, str | Path):
            read_metadata(image)
        else:
            with borrow_image(image, target=(1, 1)):
                pass
    except ImageReadError:
        return False
    return True
