"""Splitting a dataset into training and validation pairs without images in common."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

import numpy as np

from clipkit.data.mixing import MixedPairs, PairSubset
from clipkit.data.pair import PairSource, image_digest
from clipkit.errors import ImageReadError, InputError
from clipkit.inputs.images import borrow_image
from clipkit.inputs.metadata import read_metadata

_Key = Callable[[PairSource, int], Hashable]


def split_pairs(
    sources: Sequence[PairSource], fraction: float, seed: int
) -> tuple[list[PairSubset], list[PairSubset]]:
    """Return the pairs of each source to train on and those to validate on.

    Images of equal bytes are on the same side, whichever sources they are in, so that nothing
    of one side is known on the other. Of each class of a source with two different images, one
    at least is on each side, unless these are in other classes or sources too.

    Images are kept in an order that the seed and their paths in their sources give. So one that
    comes, goes or changes into another moves, besides itself and those equal to it before or
    after, at most one other image of each class that these are in, to keep the fraction. Files
    that are no images at all are each by themselves, though their bytes be equal: mending one
    moves nothing, unless it now equals another.

    Args:
        sources: The pairs, together at least two different images.
        fraction: About which share of each class's images is for validation, above 0 and below 1.
        seed: Equal seeds split equally.

    Returns:
        Training and validation part of each source, in its order, maybe empty; the first answers
        for what the source skipped.

    Raises:
        InputError: If the fraction is out of range, or no side can have an image.
    """
    if not 0 < fraction < 1:
        raise InputError(f"the share for validation must be above 0 and below 1, got {fraction}")
    pairs = MixedPairs(sources)
    groups = _equal_images(pairs)
    if len(groups) < 2:
        raise InputError(
            f"{len(pairs)} pairs of {len(groups)} different images cannot be split: training "
            "and validation need at least one each"
        )
    by_class: dict[tuple[int, int], list[list[int]]] = defaultdict(list)
    for group in groups:
        place, row = pairs.find(group[0])
        by_class[place, sources[place].label(row) or 0].append(group)
    is_held = np.zeros(len(pairs), dtype=np.bool_)
    for members in by_class.values():
        # At least one on each side, where there are two.
        number = min(max(round(fraction * len(members)), 1), len(members) - 1)
        # By their names, not by their numbers: those change with what else there is.
        members.sort(key=lambda group: _turn(pairs.local_name(group[0]), seed))
        for group in members[:number]:
            is_held[group] = True
    if not is_held.any():
        raise InputError(
            f"no class of {len(by_class)} has two different images, so none can be kept for "
            "validation: add images, or name others by data.validation"
        )
    train, kept = [], []
    for source, is_kept in zip(sources, np.split(is_held, pairs.ends[:-1]), strict=True):
        train.append(PairSubset(source, np.flatnonzero(~is_kept), skipped=source.skipped))
        kept.append(PairSubset(source, np.flatnonzero(is_kept)))
    return train, kept


def _turn(name: str, seed: int) -> bytes:
    """Return what pairs are ordered by: a hash of the name, another for each seed."""
    return hashlib.sha256(f"{seed} {name}".encode("utf-8", "surrogatepass")).digest()


def _equal_images(source: PairSource) -> list[list[int]]:
    """Return the rows of each different image, in the order of the first row.

    Only files of equal size can be equal, so only those are read. Equal files that are no images
    are different: pages that say "not found", or nothing but zeros, in the places of images.
    """
    groups = [list(range(len(source)))]
    for key in (_first_key, _digest):
        groups = [part for group in groups for part in _parted(source, group, key)]
    return sorted(part for group in groups for part in _without_broken(source, group))


def _without_broken(source: PairSource, group: list[int]) -> list[list[int]]:
    """Return rows of equal bytes as they are, or each by itself if they are no image."""
    if len(group) == 1 or _is_image(source, group[0]):
        return [group]
    return [[row] for row in group]


def _is_image(source: PairSource, row: int) -> bool:
    """Return whether a pair has an image; of a file only the header is read."""
    try:
        image = source[row].image
        if isinstance(image, str | Path):
            read_metadata(image)
        else:
            with borrow_image(image, target=(1, 1)):
                pass
    except ImageReadError:
        return False
    return True


def _parted(source: PairSource, group: list[int], key: _Key) -> list[list[int]]:
    if len(group) == 1:
        return [group]
    parts: dict[Hashable, list[int]] = defaultdict(list)
    for row in group:
        try:
            parts[key(source, row)].append(row)
        except (OSError, ImageReadError):
            parts[f"row {row}"].append(row)  # who knows what it shows
    return list(parts.values())


def _first_key(source: PairSource, row: int) -> Hashable:
    """Return a file's size; an image out of a shard has been read when its size is known."""
    image = source[row].image
    return Path(image).stat().st_size if isinstance(image, str | Path) else image_digest(image)


def _digest(source: PairSource, row: int) -> bytes:
    return image_digest(source[row].image)
