"""Pairs kept for validation: a share of a source, no picture of which is trained on."""

import hashlib
from collections import defaultdict
from pathlib import Path

import numpy as np

from clipkit.errors import ImageReadError, InputError
from clipkit.pairs.mixing import PairSubset
from clipkit.pairs.pair import PairSource


def split_pairs(
    source: PairSource, fraction: float, seed: int
) -> tuple[PairSubset, PairSubset]:
    """Return the pairs to train on and those to validate on.

    Pictures of equal bytes are on the same side, so that nothing of one side is known on the
    other. Of each class with two different pictures, one at least is on each side.

    Args:
        source: The pairs, at least two different pictures.
        fraction: About which share is for validation, above 0 and below 1.
        seed: Equal seeds split equally.

    Returns:
        Training and validation, each in the order of the source; the first answers for what the
        source skipped.

    Raises:
        InputError: If the fraction is out of range, or all pictures are equal.
    """
    if not 0 < fraction < 1:
        raise InputError(f"the share for validation must be above 0 and below 1, got {fraction}")
    groups = _equal_pictures(source)
    if len(groups) < 2:
        raise InputError(
            f"{len(source)} pairs of {len(groups)} different pictures cannot be split: training "
            "and validation need at least one each"
        )
    by_class: dict[int | None, list[list[int]]] = defaultdict(list)
    for group in groups:
        by_class[source.label(group[0])].append(group)
    generator = np.random.default_rng(seed)
    held: list[int] = []
    for label in sorted(by_class, key=lambda value: -1 if value is None else value):
        members = by_class[label]
        # At least one on each side, where there are two.
        number = min(max(round(fraction * len(members)), 1), len(members) - 1)
        for place in generator.permutation(len(members))[:number]:
            held += members[place]
    is_held = np.zeros(len(source), dtype=np.bool_)
    is_held[held] = True
    train = PairSubset(source, np.flatnonzero(~is_held), skipped=source.skipped)
    return train, PairSubset(source, np.flatnonzero(is_held))


def _equal_pictures(source: PairSource) -> list[list[int]]:
    """Return the rows of each different picture, in the order of the first row.

    Only files of equal size can be equal, so only those are read.
    """
    by_size: dict[object, list[int]] = defaultdict(list)
    for row in range(len(source)):
        by_size[_size_of(source, row)].append(row)
    groups: dict[object, list[int]] = defaultdict(list)
    for size, rows in by_size.items():
        for row in rows:
            groups[(size, _digest(source, row)) if len(rows) > 1 else size].append(row)
    return sorted(groups.values())


def _size_of(source: PairSource, row: int) -> object:
    try:
        image = source[row].image
        return Path(image).stat().st_size if isinstance(image, str | Path) else len(image)  # type: ignore[arg-type]
    except (OSError, ImageReadError):
        return f"unreadable {row}"


def _digest(source: PairSource, row: int) -> bytes:
    image = source[row].image
    content = Path(image).read_bytes() if isinstance(image, str | Path) else image
    return hashlib.sha256(content).digest()  # type: ignore[arg-type]
