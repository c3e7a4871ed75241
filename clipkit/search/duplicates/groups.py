"""Images that a folder has more than once: the same bytes, or the same image made anew.

Two images are near duplicates if their embeddings are close, their sketches have the same details
in the same places, and so have the images themselves. Images without a close neighbour are not even
read. Nothing is ever deleted.

Shapes: N images, D dimensions, S cells a side of a sketch.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clipkit.errors import ImageReadError
from clipkit.inputs.perceptual_hash import Sketches, read_sketches
from clipkit.progress import Progress
from clipkit.search.duplicates.calibration import DuplicateCalibration
from clipkit.search.duplicates.clustering import Pairs, complete_link
from clipkit.search.duplicates.confirmation import Confirmation
from clipkit.search.duplicates.perceptual_similarity import likeness
from clipkit.search.duplicates.preference import best_first
from clipkit.search.store.records import ImageFile

_BLOCK = 2048  # rows compared with as many others at once: matrices of 16 MB


@dataclass(frozen=True)
class DuplicateGroup:
    """Copies of one image."""

    kind: Literal["exact", "near"]
    images: tuple[ImageFile, ...]  # at least two, the best first
    similarity: float  # likeness of the least like two, at most 1; of exact copies 1

    @property
    def best(self) -> ImageFile:
        """The copy to keep, as `best_first` has it."""
        return self.images[0]


@dataclass(frozen=True)
class DuplicateReport:
    """The exact copies and near-duplicates of a library."""

    groups: list[DuplicateGroup]  # the exact ones first; of their files, near ones name the best
    skipped: list[ImageReadError] = field(default_factory=list)  # not compared, with reasons
    calibration: DuplicateCalibration | None = None  # None if near duplicates were not looked for


def exact_groups(images: Iterable[ImageFile]) -> list[DuplicateGroup]:
    """Return the groups of files with the same bytes.

    Args:
        images: In any order.

    Returns:
        Groups in the order of their best images' paths.
    """
    by_digest: dict[bytes, list[ImageFile]] = {}
    for image in images:
        if image.digest is not None:
            by_digest.setdefault(image.digest, []).append(image)
    groups = [
        DuplicateGroup("exact", tuple(best_first(same)), 1.0)
        for same in by_digest.values()
        if len(same) > 1
    ]
    return sorted(groups, key=lambda group: group.best.path)


def distinct(images: Sequence[ImageFile]) -> list[int]:
    """Return which images stand for all: of each exact group only the best.

    Args:
        images: In any order.

    Returns:
        Their positions in the input, in the order of their paths.
    """
    spare = {file.path for group in exact_groups(images) for file in group.images[1:]}
    kept = [place for place, file in enumerate(images) if file.path not in spare]
    return sorted(kept, key=lambda place: images[place].path)


def find_near_duplicates(
    images: Sequence[ImageFile],
    paths: Sequence[Path],
    embeddings: NDArray[np.floating[Any]],
    calibration: DuplicateCalibration,
    *,
    max_pixels: int | None = None,
    progress: Progress | None = None,
) -> tuple[list[DuplicateGroup], list[ImageReadError]]:
    """Return the groups of near duplicates, reading no more images than may be in one.

    Args:
        images: N images, of exact copies one.
        paths: Where they lie, N.
        embeddings: Theirs, shape (N, D), rows of norm 1, float16 or float32.
        calibration: The thresholds.
        max_pixels: How many pixels of one image may be decoded. None: default_max_pixels().
        progress: Called during each of four stages, from 0 each: comparing embeddings, reading
            images that are close to another, comparing those, and those that are alike closer.

    Returns:
        The groups, and why some images could not be compared.
    """
    near = rows_in_company(embeddings, calibration.cosine, progress=progress)
    report = read_sketches([paths[row] for row in near], max_pixels=max_pixels, progress=progress)
    near = near[report.positions]
    where = {images[row].path: paths[row] for row in near}
    confirmation = Confirmation(where, max_pixels=max_pixels, progress=progress)
    groups = near_groups(
        [images[row] for row in near],
        embeddings[near],
        report.sketches,
        calibration,
        confirm=confirmation,
        progress=progress,
    )
    return groups, [*report.skipped, *confirmation.skipped]


def rows_in_company(
    embeddings: NDArray[np.floating[Any]], cosine: float, *, progress: Progress | None = None
) -> NDArray[np.intp]:
    """Return the rows that have another row near them: the only ones that can be copies.

    Args:
        embeddings: Shape (N, D), rows of norm 1, float16 or float32.
        cosine: How near.
        progress: Called after every block.

    Returns:
        Row numbers, ascending.
    """
    accompanied = np.zeros(len(embeddings), dtype=bool)
    for rows, others, near in _near_blocks(embeddings, cosine, progress):
        accompanied[rows] |= near.any(axis=1)
        accompanied[others] |= near.any(axis=0)
    return np.flatnonzero(accompanied)


def near_groups(
    images: Sequence[ImageFile],
    embeddings: NDArray[np.floating[Any]],
    sketches: Sketches,
    calibration: DuplicateCalibration,
    *,
    confirm: Callable[[Sequence[ImageFile], Pairs], Pairs] | None = None,
    progress: Progress | None = None,
) -> list[DuplicateGroup]:
    """Return the groups of images of which every two are near duplicates.

    The groups are those of complete link: `complete_link` has the rule. They do not depend on the
    order of the images. Memory grows with the number of near duplicates, not of comparisons.

    Args:
        images: N images, of exact copies one.
        embeddings: Shape (N, D), rows of norm 1, float16 or float32.
        sketches: Shape (N, S, S).
        calibration: The thresholds.
        confirm: Given the images in the order of their paths and the pairs of them that pass the
            thresholds, returns those that are copies; None: all are.
        progress: Called after every block of comparisons.

    Returns:
        Groups in the order of their best images' paths.
    """
    order = sorted(range(len(images)), key=lambda place: images[place].path)
    pairs = _like_pairs(embeddings[order], sketches[order], calibration, progress)
    if confirm:
        pairs = confirm([images[place] for place in order], pairs)
    groups = [
        DuplicateGroup(
            "near",
            tuple(best_first(images[order[member]] for member in group.members)),
            group.similarity,
        )
        for group in complete_link(len(order), pairs)
    ]
    return sorted(groups, key=lambda group: group.best.path)


def _like_pairs(
    embeddings: NDArray[np.floating[Any]],
    sketches: Sketches,
    calibration: DuplicateCalibration,
    progress: Progress | None,
) -> Pairs:
    """Return the pairs that pass both thresholds, the earlier row first."""
    nowhere = np.empty(0, dtype=np.intp)
    found = [Pairs(nowhere, nowhere, np.empty(0, dtype=np.float32))]
    for rows, others, near in _near_blocks(embeddings, calibration.cosine, progress):
        # Most rows of a block are near to none of the other: only the rest is compared closer.
        left, right = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
        alike = likeness(sketches[rows][left], sketches[others][right])
        first, second = np.nonzero(near[np.ix_(left, right)] & (alike >= calibration.likeness))
        found.append(
            Pairs(rows.start + left[first], others.start + right[second], alike[first, second])
        )
    return Pairs(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _near_blocks(
    embeddings: NDArray[np.floating[Any]], cosine: float, progress: Progress | None
) -> Iterator[tuple[slice, slice, NDArray[np.bool_]]]:
    """Yield (rows, other rows, which are near), each pair of rows once, where there is any."""
    num_rows = len(embeddings)
    num_pairs = num_rows * (num_rows + 1) // 2
    done = 0
    for start in range(0, num_rows, _BLOCK):
        rows = slice(start, min(start + _BLOCK, num_rows))
        block = embeddings[rows].astype(np.float32)
        for other_start in range(start, num_rows, _BLOCK):
            others = slice(other_start, min(other_start + _BLOCK, num_rows))
            # float32 by blocks: NumPy multiplies float16 ten times slower.
            near = block @ embeddings[others].astype(np.float32).T >= cosine
            if other_start == start:
                near = np.triu(near, k=1)
            if near.any():
                yield rows, others, near
            done += near.size
            if progress:
                progress(min(num_rows, round(num_rows * done / num_pairs)), num_rows)
