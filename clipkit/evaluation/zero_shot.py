"""Zero-shot evaluation: the accuracy of class names on labelled images.

Shapes: N readable images, C classes, D dimensions.
"""

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import check_progress
from clipkit.data.pair import PairDataset
from clipkit.embeddings import Embeddings, cosine_similarity
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.pairs import stream_pairs
from clipkit.errors import ImageReadError, InputError
from clipkit.inputs.image_input import ImageInput
from clipkit.metrics.calibration import best_scale
from clipkit.metrics.classification import (
    label_log_probabilities,
    label_ranks,
    mean_per_class,
)
from clipkit.metrics.retrieval import share_within
from clipkit.progress import Progress
from clipkit.runtime.parity import reference_directory
from clipkit.zero_shot.classifier import ZeroShotClassifier
from clipkit.zero_shot.labels import Templates, numbered_classes
from clipkit.zero_shot.templates import DEFAULT_TEMPLATES


def _no_values() -> NDArray[np.float64]:
    return np.empty(0)


@dataclass(frozen=True)
class ZeroShotReport:
    """How well class names alone classify images."""

    num_images: int  # N, without those that could not be read
    num_classes: int  # C
    top_1: float  # share of images whose class is ranked first, 0..1
    top_5: float  # among the first five; of five classes or fewer always 1
    mean_per_class: float  # top_1 of each class that has images, averaged
    # Of the right class under the softmax over the classes, natural logarithm, at most 0. It
    # changes with every image, while an accuracy over few images may stay the same.
    mean_log_probability: float
    # The same at the temperature where it is highest: what the model knows, however sure it is.
    best_log_probability: float
    skipped: list[ImageReadError] = field(default_factory=list)
    # Of every image that was given, in order; NaN where it could not be read.
    is_right: NDArray[np.float64] = field(default_factory=_no_values, repr=False, compare=False)
    # Of the right class, at the temperature of best_log_probability.
    label_probabilities: NDArray[np.float64] = field(
        default_factory=_no_values, repr=False, compare=False
    )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, as JSON can hold them: "skipped" as paths and reasons.

        What is known of each image is left out.
        """
        values = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.repr}
        skipped = [{"path": error.path, "reason": error.reason} for error in self.skipped]
        return {**values, "skipped": skipped}


def evaluate_zero_shot(
    encoder: Encoder,
    images: Sequence[ImageInput],
    labels: Sequence[int],
    class_names: Sequence[str],
    *,
    templates: Templates = DEFAULT_TEMPLATES,
    progress: Progress | None = None,
) -> ZeroShotReport:
    """Return how well a model classifies images by the names of their classes.

    Args:
        encoder: The model.
        images: Images, as for :meth:`clipkit.Encoder.encode_images`. Unreadable ones are left
            out and listed.
        labels: The right class of each, in 0..C-1.
        class_names: C names. Equal ones are classes of equal score, of which the lower number
            comes first.
        templates: As for :class:`clipkit.ZeroShotClassifier`.
        progress: Called after every batch of images with (done, total).

    Returns:
        The accuracies.

    Raises:
        InputError: If counts differ, a label is out of range, or no image can be read.
    """
    check_progress(progress)
    if len(images) != len(labels):
        raise InputError(
            f"each image needs a label, got {len(images)} images and {len(labels)} labels"
        )
    labels = list(labels)  # a pandas Series would be indexed by its labels, not by position
    tally = _Tally(encoder, class_names, templates)
    with closing(encoder.stream_images(images, progress=progress)) as batches:
        for batch in batches:
            places = batch.positions
            tally.count(batch.embeddings, places, [labels[place] for place in places])
            tally.skipped += [error for _, error in batch.skipped]
    return tally.report(len(images))


def evaluate_classes(
    encoder: Encoder,
    source: PairDataset,
    *,
    templates: Templates = DEFAULT_TEMPLATES,
    progress: Progress | None = None,
) -> ZeroShotReport:
    """Return how well a model classifies the images of class folders by the folders' names.

    Args:
        encoder: The model.
        source: Pairs whose images have a class.
        templates: As for :class:`clipkit.ZeroShotClassifier`.
        progress: Called after every batch of images with (done, total).

    Returns:
        The accuracies.

    Raises:
        InputError: If the images have no classes, or none can be read.
    """
    check_progress(progress)
    if not source.class_names:
        raise InputError(
            "zero-shot accuracy needs images with classes, got pairs without: give a folder "
            "with one folder of images a class"
        )
    tally = _Tally(encoder, source.class_names, templates)
    with closing(stream_pairs(encoder, source, progress=progress)) as batches:
        for batch in batches:
            rows = [pair.row for pair in batch.pairs]
            tally.count(batch.embeddings, rows, [_label(source, row) for row in rows])
            tally.skipped += [unread.error for unread in batch.skipped]
    return tally.report(len(source))


def sample_accuracy(encoder: Encoder) -> ZeroShotReport:
    """Return how well a model classifies the photographs that come with clipkit.

    They are few, and one is 2 points of accuracy: the mean log probability shows small changes.

    Args:
        encoder: The model.

    Returns:
        The accuracies among the photographs' own labels.

    Raises:
        CheckpointError: If clipkit was installed without the photographs.
    """
    place = reference_directory()
    label_of: dict[str, str] = json.loads((place / "labels.json").read_text(encoding="utf-8"))
    names = sorted(set(label_of.values()))
    return evaluate_zero_shot(
        encoder,
        [place / file for file in label_of],
        [names.index(label) for label in label_of.values()],
        names,
    )


class _Tally:
    """Counts images as they come, batch by batch."""

    def __init__(self, encoder: Encoder, class_names: Sequence[str], templates: Templates) -> None:
        with numbered_classes():
            classifier = ZeroShotClassifier(encoder, class_names, templates=templates)
        self.skipped: list[ImageReadError] = []
        # Products of equal rows may differ by rounding, so classes of one embedding share a column.
        _, first, self._column_of = np.unique(
            classifier.class_embeddings, axis=0, return_index=True, return_inverse=True
        )
        self._different = classifier.class_embeddings[first]
        self._scale = encoder.logit_scale
        self._ranks: list[NDArray[np.intp]] = []
        self._labels: list[int] = []
        self._places: list[int] = []
        self._logits: list[NDArray[np.float32]] = []

    def count(self, embeddings: Embeddings, places: Sequence[int], labels: Sequence[int]) -> None:
        """Add images, by their places among all, with the classes they have."""
        if not len(labels):
            return
        # The bias of sigmoid checkpoints is the same for all classes: it changes nothing here.
        cosines = cosine_similarity(embeddings, self._different)[:, self._column_of]
        logits = np.float32(self._scale) * cosines  # (K, C)
        self._ranks.append(label_ranks(logits, np.asarray(labels)))
        self._labels += labels
        self._places += places
        self._logits.append(logits)

    def report(self, num_given: int) -> ZeroShotReport:
        """Return what was counted, of so many images that were given."""
        if not self._labels:
            raise InputError(
                f"none of the images can be read, so there is no accuracy; "
                f"{len(self.skipped)} were skipped"
            )
        ranks, labels = np.concatenate(self._ranks), np.array(self._labels)
        logits = np.concatenate(self._logits).astype(np.float64)
        best = label_log_probabilities(best_scale(logits, labels) * logits, labels)
        is_right, label_probabilities = np.full((2, num_given), np.nan)
        is_right[self._places] = ranks < 1
        label_probabilities[self._places] = np.exp(best)
        return ZeroShotReport(
            num_images=len(ranks),
            num_classes=len(self._column_of),
            top_1=share_within(ranks, k=1),
            top_5=share_within(ranks, k=5),
            mean_per_class=mean_per_class(ranks < 1, labels),
            mean_log_probability=float(label_log_probabilities(logits, labels).mean()),
            best_log_probability=float(best.mean()),
            skipped=self.skipped,
            is_right=is_right,
            label_probabilities=label_probabilities,
        )


def _label(source: PairDataset, row: int) -> int:
    label = source.label(row)
    if label is None:
        raise InputError(f"zero-shot accuracy needs a class for every image; row {row} has none")
    return label
