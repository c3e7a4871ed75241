"""Validation during a run: retrieval on held-out pairs, and accuracy on the retention set.

Shapes: N pairs, D dimensions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from clipkit.data.pair import PairDataset
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.pairs import EmbeddedPairs, embed_pairs
from clipkit.errors import ImageReadError, InputError
from clipkit.evaluation.retrieval import evaluate_retrieval
from clipkit.evaluation.zero_shot import ZeroShotReport, evaluate_classes, sample_accuracy
from clipkit.runs.data import RunData, check_bad
from clipkit.training.batch import text_keys
from clipkit.training.config import SAMPLES, LossKind, RunConfig
from clipkit.training.loop import Validation
from clipkit.training.validation_loss import least_loss, mean_loss

RETENTION_ACCURACY = "retention_accuracy"  # a metric: zero-shot, of the retention set
# Of each of its images: of the right label, at the temperature that fits the whole set best.
RETENTION_PROBABILITY = "retention_probability"
SCORE = "score"  # of each image: whether it is right, or the mean of its recalls

Measure = Callable[[Encoder], Validation]


@dataclass(frozen=True)
class Validator:
    """Measures a model, while and after it is trained.

    Its score, by which the best checkpoint is chosen, is the accuracy on class folders, and else
    the mean of all recalls.
    """

    source: PairDataset | None  # None: only the retention set is measured
    measure_retention: Callable[[Encoder], ZeroShotReport] | None
    templates: tuple[str, ...]
    loss: LossKind
    batch_size: int  # of the loss
    max_bad_fraction: float  # of images, 0..1

    def __call__(self, encoder: Encoder) -> Validation:
        """Return the score and the metrics of a model.

        Args:
            encoder: The model.

        Returns:
            The score and all metrics; no score where there are no pairs to measure it on.

        Raises:
            InputError: If more images cannot be read than the run may lose.
        """
        metrics: dict[str, float] = {}
        per_image: dict[str, NDArray[np.float64]] = {}
        score: float | None = None
        fine_score: float | None = None
        chance: float | None = None
        bad: list[ImageReadError] = []
        if self.source is not None and self.source.class_names:
            report = evaluate_classes(encoder, self.source, templates=self.templates)
            bad = report.skipped
            metrics["accuracy"] = score = report.top_1
            metrics["accuracy_log_probability"] = report.mean_log_probability
            fine_score = report.best_log_probability
            per_image[SCORE] = report.is_right
        elif self.source is not None:
            embedded = embed_pairs(encoder, self.source)
            bad = [unread.error for unread in embedded.skipped]
            metrics, per_image[SCORE], fine_score = self._measure_pairs(encoder, embedded)
            score = score_of(metrics)
        num_images = 0 if self.source is None else len(self.source) - len(bad)
        check_bad(len(bad), num_images + len(bad), self.max_bad_fraction, bad)
        if self.measure_retention is not None:
            retained = self.measure_retention(encoder)
            metrics[RETENTION_ACCURACY] = retained.top_1
            metrics["retention_log_probability"] = retained.mean_log_probability
            per_image[RETENTION_ACCURACY] = retained.is_right
            per_image[RETENTION_PROBABILITY] = retained.label_probabilities
            chance = 1 / retained.num_classes
            bad = [*bad, *retained.skipped]
        reasons = {str(error.path): error.reason for error in bad}
        return Validation(
            score,
            metrics,
            fine_score=fine_score,
            per_image=per_image,
            retention_chance=chance,
            num_images=num_images,
            bad=reasons,
        )

    def _measure_pairs(
        self, encoder: Encoder, embedded: EmbeddedPairs
    ) -> tuple[dict[str, float], NDArray[np.float64], float]:
        """Return the metrics of pairs, the recalls of each image of the source, the fine score."""
        assert self.source is not None
        if not embedded.pairs:
            raise InputError(
                f"none of the {len(embedded.skipped)} images to validate on can be read, the "
                f"first is {embedded.skipped[0].error}"
            )
        captions = [caption for pair in embedded.pairs for caption in pair.captions]
        counts = [len(pair.captions) for pair in embedded.pairs]
        texts = encoder.encode_texts(captions)
        keys = text_keys(encoder.tokenize(captions).token_ids)
        report = evaluate_retrieval(
            embedded.embeddings,
            texts,
            np.repeat(np.arange(len(counts)), counts),
            texts=keys.tolist(),
        )
        firsts = np.cumsum([0, *counts[:-1]])
        loss, least = (
            measure(
                embedded.embeddings,
                texts[firsts],
                keys[torch.from_numpy(firsts)],
                kind=self.loss,
                scoring=encoder.scoring,
                batch_size=self.batch_size,
            )
            for measure in (mean_loss, least_loss)
        )
        per_image = np.full(len(self.source), np.nan)
        per_image[[pair.row for pair in embedded.pairs]] = report.image_recalls
        return {"validation_loss": loss, **report.recalls}, per_image, -least


def score_of(metrics: Mapping[str, float]) -> float | None:
    """Return the score of measured pairs: the accuracy on class folders, else the mean recall.

    Args:
        metrics: As a validation has them.

    Returns:
        0..1; None if nothing was measured that gives one.
    """
    if "accuracy" in metrics:
        return metrics["accuracy"]
    recalls = [value for name, value in metrics.items() if "recall" in name]
    return float(np.mean(recalls)) if recalls else None


def build_measure(config: RunConfig, data: RunData) -> Measure:
    """Return the function that validates a model during a run.

    Args:
        config: Of the run.
        data: Its pairs.

    Returns:
        A function from a model to its score and metrics.
    """
    measure_retention: Callable[[Encoder], ZeroShotReport] | None = None
    if config.watch.retention_set == SAMPLES:
        measure_retention = sample_accuracy
    elif data.retention_set is not None:
        measure_retention = _accuracy_on(data.retention_set)
    return Validator(
        data.validation,
        measure_retention,
        config.data.templates,
        config.loss.kind,
        config.compute.batch_size,
        config.data.max_bad_fraction,
    )


def _accuracy_on(folders: PairDataset) -> Callable[[Encoder], ZeroShotReport]:
    return lambda encoder: evaluate_classes(encoder, folders)
