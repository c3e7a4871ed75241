"""The zero-shot classifier: class names to class embeddings, images to ranked labels.

Shapes: N images, C class names, G labels of them that are ranked, R different readings of the
model among them, D dimensions of the shared space.
"""

import copy
import functools
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import ENCODER_RULE, check_kind, check_progress, check_whole, items_of
from clipkit.background_words import BACKGROUND_NAMES
from clipkit.embeddings import EmbeddingArray, Embeddings, cosine_similarity, top_k
from clipkit.encoder.encoder import Encoder
from clipkit.errors import ImageReadError, InputError
from clipkit.inputs.images import ImageInput, check_image_list
from clipkit.progress import Progress
from clipkit.word_evidence import WordScale
from clipkit.zero_shot.labels import (
    LabelGroups,
    Labels,
    Templates,
    check_class_names,
    filled_prompts,
    label_prompts,
    read_labels,
    warn_of_unknown_labels,
)
from clipkit.zero_shot.templates import DEFAULT_TEMPLATES, fill_template, resolve_templates

# The logistic curve of labels that are scored on their own: where the score is .5, and its slope,
# in spreads of evidence. `benchmarks/labels.py --fit` gives 3.5 and 2 for five sets of images and
# three models, and 3.3 to 3.9 and 1.85 to 2.1 without one of the sets.
LABEL_CENTER, LABEL_SLOPE = 3.5, 2.0


class LabelScore(TypedDict):
    """One label of an image, as users of transformers' pipeline expect it."""

    score: float
    label: str


@dataclass(frozen=True)
class ClassifiedBatch:
    """One batch of a stream, in the order of its images."""

    positions: list[int]  # of those that could be read, counted in the stream from 0
    labels: list[list[LabelScore]]  # of each of them, best first
    skipped: list[tuple[int, ImageReadError]]  # position and reason of each of the others

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, as JSON can hold them."""
        return {
            "positions": self.positions,
            "labels": self.labels,
            "skipped": [
                {"position": position, "path": error.path, "reason": error.reason}
                for position, error in self.skipped
            ],
        }


class ZeroShotClassifier:
    """Scores images against class names.

    Equal names are as many classes of equal score: lists of classes repeat a name on purpose, as
    ImageNet's 1000 have "missile" and "sunglasses" twice, and every class keeps its number. They
    are embedded once. (The command line counts a label that is typed twice once.)

    Different names that the model reads as one ("Cat", "cat", "CAT", or words that it does not
    know) are one label where labels are ranked, written with all its spellings as in "Cat / cat",
    and each has a column of that one score in :meth:`scores`. An EqualLabelsWarning names them,
    and an UnknownTextWarning those of which it knows no word.

    Args:
        encoder: The model.
        class_names: C names, C >= 1, in a list, an array, a Series or the like; or a dict from each
            name to its own prompts, a string or several, in which a {} or {c} stands for the name.
        templates: The name of a set in TEMPLATE_SETS, one template, or several; or a dict from
            each name to its own prompts, where the order of the classes is that of a list, or
            names repeat.
        domain: What kind of things the classes are, in the singular: "food", "bird".
        multi_label: Whether every class is scored on its own, so that several or none may apply.
            Checkpoints trained with the sigmoid loss always do so.
        progress: Called after every batch of prompts with (done, total).

    Raises:
        InputError: If the encoder is none, there is no class name, one is empty, no string or
            without prompts, the domain is no word, or templates or a domain are given with prompts
            that need none.
        PromptError: If a template does not have exactly one {}.
    """

    def __init__(
        self,
        encoder: Encoder,
        class_names: Labels,
        *,
        templates: Templates = DEFAULT_TEMPLATES,
        domain: str | None = None,
        multi_label: bool = False,
        progress: Progress | None = None,
    ) -> None:
        check_kind(encoder, "scoring", ENCODER_RULE)
        check_progress(progress)
        self.class_names = check_class_names(class_names)
        named = class_names if isinstance(class_names, Mapping) else self.class_names
        prompts = label_prompts(named, templates, domain)
        has_own = isinstance(class_names, Mapping) or isinstance(templates, Mapping)
        self.templates = resolve_templates(
            DEFAULT_TEMPLATES if isinstance(templates, Mapping) else templates
        )
        self.multi_label = multi_label or encoder.scoring.is_sigmoid
        self._encoder = encoder
        looked_at = (
            prompts if has_own else [(fill_template("{}", name),) for name in self.class_names]
        )
        warn_of_unknown_labels(encoder, dict(zip(self.class_names, looked_at, strict=True)))
        self._groups = read_labels(encoder, self.class_names, prompts)
        self._embeddings = encoder.encode_prompts(
            [prompts[place] for place in self._groups.first_readings], progress=progress
        )  # (R, D)

    @property
    def labels(self) -> list[str]:
        """The G labels that are ranked, each with all its spellings that the model reads as one."""
        return self._groups.labels

    @property
    def class_embeddings(self) -> EmbeddingArray:
        """One embedding a class name, the mean over its prompts, shape (C, D)."""
        return self._embeddings[self._groups.reading_of]

    def classify(
        self,
        images: Iterable[ImageInput],
        *,
        k: int | None = None,
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> list[list[LabelScore]]:
        """Return the labels of each image, best first.

        Args:
            images: N images, as for :meth:`clipkit.Encoder.encode_images`.
            k: How many labels an image; None for all.
            batch_size: As for :meth:`clipkit.Encoder.encode_images`.
            progress: Called after every batch with (done, total).

        Returns:
            One list an image, in the order of the images.

        Raises:
            ImageReadError: At the first image that cannot be read. To skip such images, use
                :meth:`stream`.
            InputError: If an item is no image at all, or k is less than 1.
        """
        count = self._count(k)
        embeddings = self._encoder.encode_images(images, batch_size=batch_size, progress=progress)
        return self.rank(embeddings, k=count)

    def stream(
        self,
        images: Iterable[ImageInput],
        *,
        k: int | None = None,
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> Generator[ClassifiedBatch]:
        """Yield the labels of images batch by batch, in memory that does not grow.

        Args:
            images: Any number of images, as for :meth:`clipkit.Encoder.encode_images`.
            k: How many labels an image; None for all.
            batch_size: As for :meth:`clipkit.Encoder.stream_images`.
            progress: Called after every batch with (done, total).

        Yields:
            Batches in the order of the images. Each position is in exactly one batch, with its
            labels or with the reason why there are none.

        Raises:
            InputError: If an item is no image at all, or k is less than 1.
        """
        count = self._count(k)
        batches = self._encoder.stream_images(images, batch_size=batch_size, progress=progress)
        with closing(batches):
            for batch in batches:
                labels = self.rank(batch.embeddings, k=count)
                yield ClassifiedBatch(batch.positions, labels, batch.skipped)

    def rank(self, image_embeddings: Embeddings, *, k: int | None = None) -> list[list[LabelScore]]:
        """Return the labels of images that are embedded already, best first.

        Args:
            image_embeddings: Shape (N, D), rows of norm 1, of the classifier's space.
            k: How many labels an image; None for all.

        Returns:
            One list an image. Labels of equal score keep the order of the class names.

        Raises:
            InputError: If the shapes do not fit, rows are not of norm 1, or k is less than 1.
            SpaceMismatchError: If the embeddings know that they are of another space.
        """
        count = self._count(k)
        return [
            [
                LabelScore(score=float(row[place]), label=self.labels[place])
                for place in top_k(row, count)
            ]
            for row in self._scores(image_embeddings)
        ]

    def scores(self, image_embeddings: Embeddings) -> NDArray[np.float32]:
        """Return the score of every image for every class.

        Softmax over the classes, so that a row sums to 1; with multi_label each in [0, 1] alone.
        Spellings that the model reads as one count once in the sum, and each has that one's score.
        A checkpoint trained with the sigmoid loss gives the latter directly. For others it is
        sigmoid(2 * (evidence - 3.5)): by how many spreads the label lies above the background
        names on that image, in the same templates, less what its richness brings
        (clipkit.word_evidence; benchmarks/labels.py fits the two constants).

        Args:
            image_embeddings: Shape (N, D), rows of norm 1, of the classifier's space.

        Returns:
            float32, shape (N, C), columns as in `class_names`.

        Raises:
            InputError: If the shapes do not fit, or rows are not of norm 1.
            SpaceMismatchError: If the embeddings know that they are of another space.

        Source:
            Softmax: Radford et al. 2021, figure 3 (arXiv 2103.00020). Sigmoid: Zhai et al. 2023
            (arXiv 2303.15343). Evidence: own.
        """
        scores: NDArray[np.float32] = self._scores(image_embeddings)[:, self._groups.group_of]
        return scores

    def _scores(self, image_embeddings: Embeddings) -> NDArray[np.float32]:
        """Return the score of every image for every label that is ranked, shape (N, G)."""
        scoring = self._encoder.scoring
        scale = scoring.logit_scale
        columns = self._groups.reading_of_group
        cosines = cosine_similarity(image_embeddings, self._embeddings).astype(np.float64)
        cosines = cosines[:, columns]
        if scoring.logit_bias is not None:
            return _sigmoid(scale * cosines + scoring.logit_bias)
        if self.multi_label:
            evidence = self._words.evidence(self._embeddings, image_embeddings)
            return _sigmoid(LABEL_SLOPE * (evidence[:, columns] - LABEL_CENTER))
        return _softmax(scale * cosines)

    def _count(self, k: int | None) -> int:
        return len(self.labels) if k is None else check_whole(k, "k")

    def _only(self, class_names: Sequence[str]) -> "ZeroShotClassifier":
        """Return the classifier of some of the class names, without embedding them again."""
        place_of = {name: place for place, name in enumerate(self.class_names)}
        places = [place_of[name] for name in class_names]
        part = copy.copy(self)
        part.class_names = list(class_names)
        part._groups = LabelGroups(class_names, [self._groups.readings[place] for place in places])
        firsts = [places[first] for first in part._groups.first_readings]
        part._embeddings = self._embeddings[self._groups.reading_of[firsts]]
        return part

    @functools.cached_property
    def _words(self) -> WordScale:
        """The background names as the measure of labels that are scored on their own."""
        prompts = filled_prompts(BACKGROUND_NAMES, self.templates, None)
        return WordScale(self._encoder.encode_prompts(prompts))


def classify_each(
    encoder: Encoder,
    images: Iterable[ImageInput],
    class_names: Iterable[Iterable[str]],
    *,
    templates: Templates = DEFAULT_TEMPLATES,
    k: int | None = None,
) -> list[list[LabelScore]]:
    """Classify each image by its own list of labels; return them best first.

    Args:
        encoder: The model.
        images: N images.
        class_names: N lists of names.
        templates: As for ZeroShotClassifier.
        k: How many labels an image; None for all.

    Returns:
        One list an image.

    Raises:
        InputError: If the counts differ, a list is empty, or k is less than 1.
        ImageReadError: At the first image that cannot be read.
    """
    check_image_list(images)
    lists = items_of(class_names, "class names must be one list for each image")
    sources, names_of = list(images), [check_class_names(names) for names in lists]
    if len(sources) != len(names_of):
        raise InputError(
            f"one list of labels an image is needed, got {len(names_of)} for {len(sources)}"
        )
    if not sources:
        return []
    # All names at once: prompts shared by many images go through the tower once.
    everything = list(dict.fromkeys(name for names in names_of for name in names))
    classifier = ZeroShotClassifier(encoder, everything, templates=templates)
    classifier._count(k)
    embeddings = encoder.encode_images(sources)
    return [
        labels
        for row, names in zip(embeddings, names_of, strict=True)
        for labels in classifier._only(names).rank(row[None], k=k)
    ]


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return softmax over the last axis, safe for large logits."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    scores: NDArray[np.float32] = (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)
    return scores


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the logistic function, safe for large logits of either sign."""
    powers = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + powers), powers / (1 + powers)).astype(np.float32)
