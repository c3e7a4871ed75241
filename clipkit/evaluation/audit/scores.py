"""What a model says of the images of an audit: answers, scores for queries, nearness to concepts.

Shapes: N images, L of them with a known class, C classes, Q queries, W concepts, D dimensions.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings
from clipkit.evaluation.classification import ImageScores, score_images
from clipkit.runtime.base import Scoring

_DIGITS = 6  # of a cosine; what differs by less differs by the order of sums


@dataclass(frozen=True)
class AuditImages:
    """The images of an audit as a model has them."""

    embeddings: Embeddings  # shape (N, D), rows of norm 1
    labels: NDArray[np.intp]  # the class of each, -1: not known, shape (N,)
    scoring: Scoring  # scale and bias of cosines

    def part(self, rows: NDArray[np.intp]) -> "AuditImages":
        """Return some of the images."""
        return replace(self, embeddings=self.embeddings[rows], labels=self.labels[rows])


@dataclass(frozen=True)
class AuditTexts:
    """The texts of an audit as embeddings, rows of norm 1; none of a kind: no row."""

    class_names: tuple[str, ...]
    classes: Embeddings  # (C, D)
    query_names: tuple[str, ...]
    queries: Embeddings  # (Q, D)
    concept_names: tuple[str, ...]
    concepts: Embeddings  # (W, D)
    everyday: Embeddings  # words that concepts are weighed against, (B, D)


@dataclass(frozen=True)
class AuditScores:
    """What a model says of N images."""

    labelled: NDArray[np.intp]  # the images whose class is known, shape (L,)
    labels: NDArray[np.intp]  # their classes, shape (L,)
    answers: ImageScores | None  # of these images; None: there is no class
    queries: NDArray[np.float64]  # cosines, shape (N, Q)
    concepts: NDArray[np.float64]  # cosines less the mean one with everyday words, shape (N, W)


def score_texts(images: AuditImages, texts: AuditTexts) -> AuditScores:
    """Return what a model says of images.

    Args:
        images: N.
        texts: What they are compared with.

    Returns:
        The scores. Images differ in how near they are to any text; of concepts that is taken off,
        as the mean over everyday words.
    """
    rows, labels = images.embeddings, images.labels
    labelled = np.flatnonzero(labels >= 0)
    answers = None
    if len(labelled) and len(texts.classes):
        answers = score_images(rows[labelled], labels[labelled], texts.classes, images.scoring)
    relative = texts.concepts
    if len(texts.everyday):
        relative = texts.concepts - texts.everyday.mean(axis=0, dtype=np.float64)
    return AuditScores(
        labelled,
        labels[labelled],
        answers,
        _cosines(rows, texts.queries),
        _cosines(rows, relative),
    )


def _cosines(images: Embeddings, texts: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.round(images @ texts.T, _DIGITS).astype(np.float64)
