"""Splitting datasets into training and validation pairs without images in common."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

import numpy as np

from clipkit.data.mixing import ConcatenatedPairs, PairSubset
from clipkit.data.pair import PairDataset, image_digest
from clipkit.errors import ImageReadError, InputError
from clipkit.inputs.images import borrow_image
from clipkit.inputs.metadata import read_details

_Key = Callable[[PairDataset, int], Hashable]


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
    groups = _equal_images(pairs)
    if len(groups) < 2:
        raise InputError(
            f"{len(pairs)} pairs of {len(groups)} different images cannot be split: training "
            "and validation need at least one each"
        )
    by_class: dict[tuple[int, int], list[list[int]]] = defaultdict(list)
    for group in groups:
        number, row = pairs.find(group[0])
        by_class[number, datasets[number].label(row) or 0].append(group)
    is_validation = np.zeros(len(pairs), dtype=np.bool_)
    for members in by_class.values():
        # At least one in each split, where there are two.
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        # By their names, not by their rows: these change when others are added or deleted.
        members.sort(key=lambda group: _sort_key(pairs.local_name(group[0]), seed))
        for group in members[:count]:
            is_validation[group] = True
    if not is_validation.any():
        raise InputError(
            f"no class of {len(by_class)} has two different images, so none can be kept for "
            "validation: add images, or name others by data.validation"
        )
    train, validation = [], []
    for dataset, is_kept in zip(datasets, np.split(is_validation, pairs.ends[:-1]), strict=True):
        train.append(PairSubset(dataset, np.flatnonzero(~is_kept), skipped=dataset.skipped))
        validation.append(PairSubset(dataset, np.flatnonzero(is_kept)))
    return train, validation


def _sort_key(name: str, seed: int) -> bytes:
    """Return what pairs are ordered by: a hash of the name, a different one for each seed."""
    return hashlib.sha256(f"{seed} {name}".encode("utf-8", "surrogatepass")).digest()


def _equal_images(dataset: PairDataset) -> list[list[int]]:
    """Return the rows of each different image, in the order of the first row.

    Only files of equal size can be equal, so only those are read. Equal files that are no images
    count as different: pages that say "not found", or nothing but zeros, instead of images.
    """
    groups = [list(range(len(dataset)))]
    for key in (_first_key, _digest):
        groups = [part for group in groups for part in _split_by(key, dataset, group)]
    return sorted(part for group in groups for part in _split_if_no_image(dataset, group))


def _split_if_no_image(dataset: PairDataset, group: list[int]) -> list[list[int]]:
    """Return rows of equal bytes as they are, or each by itself if they are no image."""
    if len(group) == 1 or _is_image(dataset, group[0]):
        return [group]
    return [[row] for row in group]


def _is_image(dataset: PairDataset, row: int) -> bool:
    """Return whether a pair has an image; of a file only the header is read."""
    try:
        image = dataset[row].image
        if isinstance(image, str | Path):
            read_details(image)
        else:
            with borrow_image(image, target=(1, 1)):
                pass
    except ImageReadError:
        return False
    return True


def _split_by(key: _Key, dataset: PairDataset, group: list[int]) -> list[list[int]]:
    if len(group) == 1:
        return [group]
    parts: dict[Hashable, list[int]] = defaultdict(list)
    for row in group:
        try:
            parts[key(dataset, row)].append(row)
        except (OSError, ImageReadError):
            parts[f"row {row}"].append(row)  # a file that cannot be read may hold anything
    return list(parts.values())


def _first_key(dataset: PairDataset, row: int) -> Hashable:
    """Return a file's size; of an image in a shard the digest, as it has to be read anyhow."""
    image = dataset[row].image
    return Path(image).stat().st_size if isinstance(image, str | Path) else image_digest(image)


def _digest(dataset: PairDataset, row: int) -> bytes:
    return image_digest(dataset[row].image)
