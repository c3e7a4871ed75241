"""Calibrating the thresholds for near-duplicates on copies of a library's own images.

A threshold that is right for one model and one folder is wrong for the next. So copies are made
of a sample of the images, and the thresholds put between copies and other images.

Shapes: N images of the library, D dimensions, K images of the sample, C copies.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import top_k
from clipkit.errors import ImageReadError, InputError
from clipkit.inputs.augmented_copies import make_copies
from clipkit.inputs.perceptual_hash import GreyThumbnails, read_grey_thumbnail, read_grey_thumbnails
from clipkit.progress import Progress
from clipkit.search.duplicates.perceptual_similarity import perceptual_similarity

if TYPE_CHECKING:
    from clipkit.encoder.encoder import Encoder


_SAMPLE = 64  # images
_NEIGHBOURS = 8  # other images that each is compared with: the closest in embedding
_BLOCK = 8192  # rows of embeddings in float32 at a time

_FAR_COPIES = 0.02  # share of the copies beyond the gate, before it is widened
_WIDENING = 1.5  # of the distance: people's copies are further away than ours
_UNLIKE_COPIES = 0.05  # share of the copies that may be less similar than where "copies begin"
_ALIKE_OTHERS = 0.05  # share of the sample that may be more similar than where "other images end"
_UNRELATED = 0.65  # similarity that one in a thousand pairs of related images reaches


@dataclass(frozen=True)
class DuplicateCalibration:
    """The thresholds for near-duplicates of a library, and the evidence for them."""

    cosine: float  # near-duplicates' embeddings are at least so close
    similarity: float  # near-duplicates are perceptually at least so similar
    num_images: int  # K
    copies_found: float  # share of the copies that pass both thresholds
    others_found: float  # share of the sample to which another image passes both

    def to_dict(self) -> dict[str, float]:
        """Return the fields as JSON has them."""
        return asdict(self)


class Evidence(NamedTuple):
    """Cosines and similarities measured on a sample."""

    copy_cosines: NDArray[np.float32]  # (C,), of each copy to its original
    copy_similarities: NDArray[np.float32]  # (C,)
    other_cosines: NDArray[np.float32]  # (K, neighbours), of each original to other images
    other_similarities: NDArray[np.float32]  # (K, neighbours); -1 where one cannot be read


def calibrate(
    paths: Sequence[Path],
    embeddings: NDArray[np.floating[Any]],
    encoder: "Encoder",
    *,
    progress: Progress | None = None,
) -> DuplicateCalibration:
    """Return thresholds for a library, from copies of 64 of its images.

    The sample is spread evenly over the paths. Each copy is re-encoded at JPEG quality 50,
    resized to half, or cropped by 5 % on each side.

    Args:
        paths: N images in a fixed order, one of each set of exact copies.
        embeddings: Theirs, shape (N, D), float16 or float32, rows of norm 1.
        encoder: The model that made them.
        progress: Called with how many copies are embedded, and how many there are.

    Returns:
        The thresholds; `choose_thresholds` has the rule.

    Raises:
        InputError: If no image of the sample can be read.
    """
    sample = np.unique(np.linspace(0, len(paths) - 1, min(_SAMPLE, len(paths))).round().astype(int))
    originals = read_grey_thumbnails(
        [paths[position] for position in sample], max_pixels=encoder.max_pixels
    )
    sample = sample[originals.positions]
    positions: list[int] = []  # in the sample, of each copy's original
    copies: list[bytes] = []
    for position, number in enumerate(sample):
        try:
            made = make_copies(paths[number], max_pixels=encoder.max_pixels)
        except ImageReadError:  # a grey thumbnail needs fewer pixels of it
            continue
        positions += [position] * len(made)
        copies += made.values()
    if not copies:
        raise InputError("thresholds for near duplicates need images that can be read: none can")
    embedded = encoder.encode_images(copies, progress=progress)
    thumbnails = np.stack([read_grey_thumbnail(copy) for copy in copies])
    rows = embeddings[sample].astype(np.float32)
    others, cosines = _neighbours(sample, rows, embeddings)
    evidence = Evidence(
        (rows[positions] * embedded).sum(axis=1),
        np.array(
            [
                perceptual_similarity(originals.thumbnails[[position]], thumbnails[[copy]])[0, 0]
                for copy, position in enumerate(positions)
            ]
        ),
        cosines,
        _other_similarities(originals.thumbnails, others, paths, encoder.max_pixels),
    )
    return choose_thresholds(evidence)


def choose_thresholds(evidence: Evidence) -> DuplicateCalibration:
    """Return the thresholds between copies and other images, from what was measured.

    The cosine only spares work, the perceptual similarity decides. So the cosine threshold is wide:
    98 % of the copies are nearer than some distance 1 - cosine, and half as far again is near
    enough.

    The similarity is half way between where other images end and where copies begin, and never
    lower than where other images end: precision comes first. Copies begin at the similarity that
    95 % of them reach. Other images end at the similarity that 95 % of the sample do not have to
    their second most similar neighbour, 0.65 at least. The most similar one does not count,
    because it may be a copy that is there already; for the same reason neither do neighbours that
    are as similar as the copies.

    Args:
        evidence: Measured on at least one copy.

    Returns:
        The thresholds, and how the sample fares with them.
    """
    gate = 1 - _WIDENING * (1 - float(np.quantile(evidence.copy_cosines, _FAR_COPIES)))
    copies_begin = float(np.quantile(evidence.copy_similarities, _UNLIKE_COPIES))
    near = np.where(evidence.other_cosines >= gate, evidence.other_similarities, -1)
    # Two more, so that there always is a second.
    near = np.pad(near, ((0, 0), (2, 0)), constant_values=-1)
    second, first = np.sort(near, axis=1)[:, -2:].T
    others = second[second < copies_begin]
    others_end = np.quantile(others, 1 - _ALIKE_OTHERS) if len(others) else -1
    others_end = max(_UNRELATED, float(others_end))
    threshold = max(others_end, (others_end + copies_begin) / 2)
    found = (evidence.copy_cosines >= gate) & (evidence.copy_similarities >= threshold)
    others_found = first >= threshold
    return DuplicateCalibration(
        gate, threshold, len(near), float(found.mean()), float(others_found.mean())
    )


def _neighbours(
    sample: NDArray[np.intp], rows: NDArray[np.float32], embeddings: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the closest other rows of each sampled one and their cosines, both (K, neighbours)."""
    cosines = np.empty((len(sample), len(embeddings)), dtype=np.float32)
    for start in range(0, len(embeddings), _BLOCK):
        block = embeddings[start : start + _BLOCK].astype(np.float32)
        cosines[:, start : start + _BLOCK] = rows @ block.T
    cosines[np.arange(len(sample)), sample] = -np.inf
    number = min(_NEIGHBOURS, len(embeddings) - 1)
    if number == 0:
        return np.empty((len(sample), 0), dtype=np.intp), np.empty((len(sample), 0), np.float32)
    others = np.stack([top_k(row, number) for row in cosines])
    return others, np.take_along_axis(cosines, others, axis=1)


def _other_similarities(
    originals: GreyThumbnails,
    others: NDArray[np.intp],
    paths: Sequence[Path],
    max_pixels: int | None,
) -> NDArray[np.float32]:
    """Return the similarity of each sampled image to its neighbours, shape (K, neighbours)."""
    numbers = np.unique(others)
    report = read_grey_thumbnails([paths[number] for number in numbers], max_pixels=max_pixels)
    readable = numbers[report.positions]
    result = np.full(others.shape, -1, dtype=np.float32)
    for row, (original, near) in enumerate(zip(originals, others, strict=True)):
        known = np.flatnonzero(np.isin(near, readable))
        thumbnails = report.thumbnails[np.searchsorted(readable, near[known])]
        result[row, known] = perceptual_similarity(original[None], thumbnails)[0]
    return result
