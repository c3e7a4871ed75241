"""A rung of the ladder: one way of adapting a model, as it is fitted and measured.

Shapes: M test images, C classes, R images of other things.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clipkit.adaptation.classifiers import Classifier, LinearClassifier
from clipkit.adaptation.closed_form import (
    LEAST_FOR_DISCRIMINANT,
    fit_discriminant,
    fit_text_and_means,
)
from clipkit.adaptation.held_out import Fitted, HeldOut
from clipkit.adaptation.linear_adapter import fit_adapter
from clipkit.adaptation.probe import fit_probe
from clipkit.adaptation.splits import Split
from clipkit.adaptation.support import Logits, Support
from clipkit.adaptation.task import AdaptationTask, Retention
from clipkit.adaptation.tip_adapter import fit_tip_adapter

HEAD_NAMES = ("prompt", "prompts", "tip-adapter", "ss-text", "gda", "adapter", "probe")
"""Of the rungs that leave the model as it is: steps 0 to 4."""


@dataclass(frozen=True)
class Measured:
    """What a rung that was fitted on one split says of images that it has not seen."""

    logits: Logits  # of the test images, shape (M, C)
    scale: float  # what held-out training images say logits are to be multiplied by
    # What the model then says of other things; None: it knows no other names, or there are none.
    retention: Retention | None
    seconds: float  # of fitting, without embedding the images
    num_bytes: int  # that are kept beside the base model


class Rung(Protocol):
    """One way of adapting a model."""

    @property
    def step(self) -> int:
        """Its place on the ladder, from 0; higher ones cost more."""

    @property
    def name(self) -> str:
        """A short name, such as "gda"."""

    @property
    def title(self) -> str:
        """What it is, for a table."""

    def lack(self, counts: NDArray[np.intp]) -> str:
        """Return why it cannot be fitted on so many images of each class, shape (C,); "" if so."""

    def measure(self, split: Split) -> Measured:
        """Fit it on the training images of a split and return what it says of the others."""


@dataclass(frozen=True)
class EmbeddingRung:
    """A classifier on cached embeddings: steps 0 to 4."""

    step: int
    name: str
    title: str
    task: AdaptationTask
    fit: Callable[[Support], Fitted]
    least: int = 0  # images a class on average
    uses_images: bool = True  # False: nothing is kept but texts

    def lack(self, counts: NDArray[np.intp]) -> str:
        """Return why it cannot be fitted on so many images of each class, shape (C,); "" if so."""
        if counts.mean() >= self.least:
            return ""
        return f"needs {self.least} images a class on average, there are {counts.mean():.1f}"

    def fitted(self, rows: NDArray[np.intp]) -> Classifier:
        """Return the classifier of some of the task's images, at the right temperature."""
        return self.fit(self.task.support(rows)).calibrated()

    def measure(self, split: Split) -> Measured:
        """Fit it on the training images of a split and return what it says of the others."""
        support = self.task.support(split.train)
        start = perf_counter()
        fitted = self.fit(support)
        seconds = perf_counter() - start
        return Measured(
            logits=fitted.classifier.logits(self.task.embeddings[split.test]),
            scale=fitted.scale(),
            retention=self.task.retention,  # the model itself is as it was
            seconds=seconds,
            num_bytes=fitted.classifier.num_bytes if self.uses_images else 0,
        )


def embedding_rungs(task: AdaptationTask) -> list[EmbeddingRung]:
    """Return the rungs that need no more than embeddings, cheapest first."""

    def fit_one_prompt(support: Support) -> Fitted:
        return fit_texts(replace(support, class_embeddings=task.one_prompt))

    return [
        EmbeddingRung(0, "prompt", "one prompt", task, fit_one_prompt, uses_images=False),
        EmbeddingRung(1, "prompts", "prompt ensemble", task, fit_texts, uses_images=False),
        EmbeddingRung(2, "tip-adapter", "retrieval (Tip-Adapter)", task, fit_tip_adapter),
        EmbeddingRung(3, "ss-text", "texts and class means (SS-Text)", task, fit_text_and_means),
        EmbeddingRung(
            3, "gda", "Gaussian discriminant (GDA)", task, fit_discriminant, LEAST_FOR_DISCRIMINANT
        ),
        EmbeddingRung(4, "adapter", "linear adapter (ProLIP on embeddings)", task, fit_adapter),
        EmbeddingRung(4, "probe", "probe from the texts (CLAP)", task, fit_probe),
    ]


def fit_texts(support: Support) -> Fitted:
    """Return the zero-shot classifier of the class texts, of which the images say how sure it is.

    Args:
        support: The labelled images: none of them changes the classifier but for its temperature.

    Returns:
        The classifier.
    """
    weights = support.logit_scale * support.class_embeddings.astype(np.float64)
    held_out = HeldOut(support.zero_shot(support.embeddings), support.labels)
    return Fitted(LinearClassifier(weights, np.zeros(len(weights))), held_out)
