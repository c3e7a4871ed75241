"""Groups of duplicates: files with the same bytes, and near-duplicates of one image.

Two images are near-duplicates if their embeddings are close, their thumbnails (small grey versions)
have the same details in the same places, and so have the images themselves.

Shapes: N images, D dimensions, S cells a side of a grey thumbnail.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clipkit.errors import ImageReadError
from clipkit.inputs.perceptual_hash import GreyThumbnails
from clipkit.near_duplicates import near_pairs
from clipkit.progress import Progress
from clipkit.search.duplicates.calibration import DuplicateCalibration
from clipkit.search.duplicates.clustering import Pairs, complete_link
from clipkit.search.duplicates.perceptual_similarity import perceptual_similarity
from clipkit.search.duplicates.preference import best_first
from clipkit.search.store.records import ImageFile


@dataclass(frozen=True)
class DuplicateGroup:
    """Copies of one image."""

    kind: Literal["exact", "near"]
    images: tuple[ImageFile, ...]  # at least two, the best first
    # Perceptual similarity of the two least similar, at most 1; of exact copies 1.
    similarity: float

    @property
    def best(self) -> ImageFile:
        """The copy to keep, as `best_first` has it."""
        return self.images[0]

    def to_dict(self) -> dict[str, Any]:
        """Return the group as JSON has it; paths are as those of its images."""
        return {
            "kind": self.kind,
            "similarity": round(self.similarity, 6),
            "best": self.best.path,
            "images": [image.to_dict() for image in self.images],
        }


@dataclass(frozen=True)
class DuplicateReport:
    """The exact copies and near-duplicates of a library."""

    # The exact ones first; the near ones name only the best file of each exact one.
    groups: list[DuplicateGroup]
    skipped: list[ImageReadError] = field(default_factory=list)  # not compared, with reasons
    calibration: DuplicateCalibration | None = None  # None if near-duplicates were not searched for

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON has it."""
        return {
            "groups": [group.to_dict() for group in self.groups],
            "skipped": [error.to_dict() for error in self.skipped],
            "calibration": self.calibration and self.calibration.to_dict(),
        }


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


def one_of_each(images: Sequence[ImageFile]) -> list[int]:
    """Return which images are left when only the best of each exact group is kept.

    Args:
        images: In any order.

    Returns:
        Their positions in the input, in the order of their paths.
    """
    spare = {file.path for group in exact_groups(images) for file in group.images[1:]}
    kept = [position for position, file in enumerate(images) if file.path not in spare]
    return sorted(kept, key=lambda position: images[position].path)


def near_groups(
    images: Sequence[ImageFile],
    embeddings: NDArray[np.floating[Any]],
    thumbnails: GreyThumbnails,
    calibration: DuplicateCalibration,
    *,
    confirm: Callable[[Sequence[ImageFile], Pairs], Pairs] | None = None,
    progress: Progress | None = None,
) -> list[DuplicateGroup]:
    """Return the groups of images of which every two are near-duplicates.

    The groups are those of complete link: `complete_link` has the rule. They do not depend on the
    order of the images. Memory grows with the number of near-duplicates, not of comparisons.

    Args:
        images: N images, one of each set of exact copies.
        embeddings: Shape (N, D), rows of norm 1, float16 or float32.
        thumbnails: Shape (N, S, S).
        calibration: The thresholds.
        confirm: Given the images in the order of their paths and the pairs of them that pass the
            thresholds, returns those that are copies; None: all are.
        progress: Called after every block of comparisons.

    Returns:
        Groups in the order of their best images' paths.
    """
    order = sorted(range(len(images)), key=lambda position: images[position].path)
    pairs = _similar_pairs(embeddings[order], thumbnails[order], calibration, progress)
    if confirm:
        pairs = confirm([images[position] for position in order], pairs)
    groups = [
        DuplicateGroup(
            "near",
            tuple(best_first(images[order[member]] for member in group.members)),
            group.similarity,
        )
        for group in complete_link(len(order), pairs)
    ]
    return sorted(groups, key=lambda group: group.best.path)


def _similar_pairs(
    embeddings: NDArray[np.floating[Any]],
    thumbnails: GreyThumbnails,
    calibration: DuplicateCalibration,
    progress: Progress | None,
) -> Pairs:
    """Return the pairs that pass both thresholds, the earlier row first."""
    nowhere = np.empty(0, dtype=np.intp)
    found = [Pairs(nowhere, nowhere, np.empty(0, dtype=np.float32))]
    for rows, others, is_near in near_pairs(embeddings, calibration.cosine, progress=progress):
        # Most rows of a block are near to none of the other: only the rest is compared in detail.
        left, right = np.flatnonzero(is_near.any(axis=1)), np.flatnonzero(is_near.any(axis=0))
        rows, others = rows[left], others[right]
        similarity = perceptual_similarity(thumbnails[rows], thumbnails[others])
        is_similar = is_near[np.ix_(left, right)] & (similarity >= calibration.similarity)
        first, second = np.nonzero(is_similar)
        found.append(Pairs(rows[first], others[second], similarity[first, second]))
    return Pairs(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
