"""Evaluation of zero-shot classification on embeddings: accuracy, classes, templates, calibration.

Shapes: N images, C classes, D dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings
from clipkit.evaluation.report import ClassResult, Confusion, TemplateResult
from clipkit.metrics.calibration import brier_scores, expected_calibration_error
from clipkit.metrics.classification import label_log_probabilities, label_ranks
from clipkit.metrics.comparison import PairedChange, bootstrap_interval
from clipkit.runtime.base import Scoring
from clipkit.zero_shot.probabilities import sigmoid

_BLOCK_CELLS = 2**22  # scores held at once: 32 MB
_MOST_CONFUSIONS = 20


@dataclass(frozen=True)
class ImageScores:
    """What a classifier says of each image."""

    ranks: NDArray[np.intp]  # of the right class, 0 is best, shape (N,)
    predicted: NDArray[np.intp]  # the class of highest score, shape (N,)
    confidences: NDArray[np.float64]  # its probability, shape (N,)
    log_losses: NDArray[np.float64]  # minus the log probability of what is right, shape (N,)
    brier: NDArray[np.float64]  # squared errors of the probabilities, shape (N,)

    @property
    def is_right(self) -> NDArray[np.bool_]:
        """Whether each image's right class is the first."""
        return self.ranks < 1

    def taken(self, images: NDArray[np.intp]) -> "ImageScores":
        """Return the scores of some of the images."""
        return ImageScores(
            **{entry.name: getattr(self, entry.name)[images] for entry in fields(self)}
        )

    @classmethod
    def joined(cls, parts: Sequence["ImageScores"]) -> "ImageScores":
        """Return the scores of several sets of images as one, in their order."""
        names = [field.name for field in fields(cls)]
        return cls(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        )


def score_images(
    embeddings: Embeddings, labels: NDArray[np.intp], classes: Embeddings, scoring: Scoring
) -> ImageScores:
    """Return what class embeddings say of images whose classes are known.

    Probabilities are the softmax over the classes. Of a model trained with the sigmoid loss they
    are each class's own, which need not sum to 1: the log loss is then the sum over the classes of
    yes or no, and the Brier score that of its squared errors.

    Args:
        embeddings: Of the images, shape (N, D), rows of norm 1.
        labels: Their classes, shape (N,), in 0..C-1.
        classes: Of the class names, shape (C, D), rows of norm 1. Equal rows are classes of equal
            score, of which the lower number comes first.
        scoring: Scale and bias of cosines.

    Returns:
        The scores.
    """
    # Products of equal rows may differ by rounding, so classes of one embedding share a column.
    _, first, column = np.unique(classes, axis=0, return_index=True, return_inverse=True)
    parts: list[ImageScores] = []
    size = max(1, _BLOCK_CELLS // len(classes))
    for start in range(0, len(embeddings), size):
        rows = slice(start, start + size)
        cosines = (embeddings[rows] @ classes[first].T)[:, column].astype(np.float64)
        parts.append(_score(scoring.logit_scale * cosines, labels[rows], scoring.logit_bias))
    return ImageScores.joined(parts)


def score_log_probabilities(
    log_probabilities: NDArray[np.float64], labels: NDArray[np.intp]
) -> ImageScores:
    """Return what probabilities of classes say of images whose classes are known.

    Args:
        log_probabilities: Shape (N, C).
        labels: The classes, shape (N,).

    Returns:
        The scores.
    """
    return _score(log_probabilities, labels, None)


def _score(
    logits: NDArray[np.float64], labels: NDArray[np.intp], bias: float | None
) -> ImageScores:
    if bias is None:
        losses = -label_log_probabilities(logits, labels)
        log_sums = logits[np.arange(len(labels)), labels] + losses
        probabilities = np.exp(np.minimum(logits - log_sums[:, None], 0))
    else:
        biased = logits + bias
        probabilities = sigmoid(biased)
        signs = np.where(np.arange(logits.shape[1]) == labels[:, None], -1.0, 1.0)
        losses = np.logaddexp(0, signs * biased).sum(axis=1)
    predicted = logits.argmax(axis=1)
    return ImageScores(
        ranks=label_ranks(logits, labels),
        predicted=predicted,
        confidences=probabilities[np.arange(len(labels)), predicted],
        log_losses=losses,
        brier=brier_scores(probabilities, labels),
    )


def image_values(
    scores: ImageScores, num_classes: int, *, prefix: str = ""
) -> dict[str, NDArray[np.float64]]:
    """Return the metrics that are means over images, by CLIP_benchmark's names.

    Args:
        scores: Of N images, N >= 1.
        num_classes: C.
        prefix: Before the names of the accuracies: "lp_" for a linear probe.

    Returns:
        The values whose means are acc1, acc5 (of more than five classes), nll and brier, shape
        (N,) each.
    """
    right = scores.is_right.astype(np.float64)
    values = {f"{prefix}acc1": right}
    if num_classes > 5:
        values[f"{prefix}acc5"] = (scores.ranks < 5).astype(np.float64)
    return values | {"nll": scores.log_losses, "brier": scores.brier}


def calibration_errors(scores: ImageScores) -> dict[str, float]:
    """Return ece and adaptive_ece, which are no means over images."""
    return {
        "ece": expected_calibration_error(scores.confidences, scores.is_right),
        "adaptive_ece": expected_calibration_error(
            scores.confidences, scores.is_right, binning="mass"
        ),
    }


def class_results(
    scores: ImageScores, labels: NDArray[np.intp], class_names: Sequence[str]
) -> tuple[tuple[ClassResult, ...], tuple[Confusion, ...]]:
    """Return the table of the classes that have images, and the most frequent confusions."""
    size = len(class_names)
    counts = np.bincount(labels, minlength=size)
    taken = np.bincount(scores.predicted, minlength=size)
    pairs, found = np.unique(labels * size + scores.predicted, return_counts=True)
    right = np.zeros(size, dtype=np.intp)
    wrong: dict[int, list[tuple[int, int]]] = {}  # class -> (count, taken for)
    for pair, count in zip(pairs.tolist(), found.tolist(), strict=True):
        label, predicted = divmod(pair, size)
        if label == predicted:
            right[label] = count
        else:
            wrong.setdefault(label, []).append((count, predicted))
    results = tuple(
        ClassResult(
            name=class_names[label],
            count=int(counts[label]),
            recall=float(right[label] / counts[label]),
            precision=float(right[label] / taken[label]) if taken[label] else None,
            top_confusion=class_names[max(wrong[label])[1]] if label in wrong else "",
        )
        for label in np.flatnonzero(counts).tolist()
    )
    confusions = [
        Confusion(class_names[label], class_names[other], count, float(count / counts[label]))
        for label, others in wrong.items()
        for count, other in others
    ]
    confusions.sort(key=lambda entry: (-entry.count, -entry.share, entry.name, entry.taken_for))
    return results, tuple(confusions[:_MOST_CONFUSIONS])


def template_result(name: str, scores: ImageScores, bare: ImageScores) -> TemplateResult:
    """Return what a set of templates is worth against the bare class names on the same images."""
    right, before = scores.is_right.astype(np.float64), bare.is_right.astype(np.float64)
    change = PairedChange.of(before, right)
    return TemplateResult(
        name, float(right.mean()), bootstrap_interval(right - before), change.gained, change.lost
    )
