"""The zero-shot classifier: class names to class embeddings, images to ranked labels.

Shapes: N images, C class names, G labels of them that are ranked, R different readings of the
model among them, D dimensions of the shared space.
"""

import copy
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import ENCODER_RULE, check_kind, check_progress
from clipkit.background_words import BACKGROUND_NAMES
from clipkit.embeddings import EmbeddingArray, Embeddings, cosine_similarity, top_k
from clipkit.encoder.encoder import Encoder
from clipkit.errors import InputError, SpaceMismatchError
from clipkit.progress import Progress
from clipkit.runtime.base import Scoring
from clipkit.word_evidence import WordScale
from clipkit.zero_shot.calibration import Calibration, check_labels, fit_scoring, identify_prompts
from clipkit.zero_shot.embedded_labels import EmbeddedLabels
from clipkit.zero_shot.image_classifier import ImageClassifier
from clipkit.zero_shot.label_evidence import LabelEvidence
from clipkit.zero_shot.label_scores import LabelScore
from clipkit.zero_shot.labels import (
    LabelGroups,
    Labels,
    Templates,
    check_class_names,
    filled_prompts,
    label_prompts,
    read_labels,
    warn_of_repeated,
    warn_of_unknown_labels,
)
from clipkit.zero_shot.probabilities import label_log_losses
from clipkit.zero_shot.templates import DEFAULT_TEMPLATES, resolve_templates

NONE_OF_THESE = "none of these"  # the label of images that show none of the labels


class ZeroShotClassifier(ImageClassifier):
    """Scores images against class names.

    Equal names are as many classes of equal score: lists of classes repeat a name on purpose, as
    ImageNet's 1000 have "missile" and "sunglasses" twice, and every class keeps its number. They
    are embedded once. In a list of 100 names or fewer a ClipkitWarning names them. (The command
    line counts a label that is typed twice once.)

    Different names that the model reads as one ("Cat", "cat", "CAT", or words that it does not
    know) are one label where labels are ranked, written with all its spellings as in "Cat / cat",
    and each has a column of that one score in :meth:`scores`. An EqualLabelsWarning names them,
    and an UnknownTextWarning those of which it knows no word.

    Args:
        encoder: The model.
        class_names: C names, C >= 1, in a list, an array, a Series or the like; or a dict from each
            name to its own prompts, a string or several, in which a {} or {c} stands for the name;
            to an embedding, shape (D,), such as that of a clipkit.Concept; or to None, for the
            prompts that templates make.
        templates: The name of a set in TEMPLATE_SETS, one template, or several; or a dict from
            each name to its own prompts, where the order of the classes is that of a list, or
            names repeat.
        domain: What kind of things the classes are, in the singular: "food", "bird".
        multi_label: Whether every class is scored on its own, so that several or none may apply.
            Checkpoints trained with the sigmoid loss always do so.
        progress: Called after every batch of prompts with (done, total).

    Raises:
        InputError: If the encoder is none, there is no class name, one is empty, no string or
            without prompts, the domain is no word, templates or a domain are given with prompts
            that need none, or an embedding is none.
        PromptError: If a template does not have exactly one {}.
        SpaceMismatchError: If an embedding knows that it is of another model.
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
        if not isinstance(templates, Mapping):  # with prompts by name, names repeat on purpose
            warn_of_repeated(self.class_names)
        named = class_names if isinstance(class_names, Mapping) else self.class_names
        prompts = label_prompts(named, templates, domain)
        self.templates = resolve_templates(
            DEFAULT_TEMPLATES if isinstance(templates, Mapping) else templates
        )
        self.multi_label = multi_label or encoder.scoring.is_sigmoid
        super().__init__(encoder)
        self._scoring: Scoring = encoder.scoring
        self._calibration: Calibration | None = None
        self._has_unknown = False
        warn_of_unknown_labels(encoder, named, prompts, templates)
        embedded = EmbeddedLabels(named, encoder)
        self._prompts = list(map(embedded.prompts_or_digest, self.class_names, prompts))
        self._groups = read_labels(encoder, self.class_names, prompts)
        places = self._groups.first_readings
        self._embeddings = embedded.encode(
            encoder,
            [self.class_names[place] for place in places],
            [prompts[place] for place in places],
            progress,
        )  # (R, D)

    @property
    def labels(self) -> list[str]:
        """The G labels that are ranked, each with all its spellings that the model reads as one."""
        return self._groups.labels

    @property
    def class_embeddings(self) -> EmbeddingArray:
        """One embedding a class name, the mean over its prompts, shape (C, D)."""
        return self._embeddings[self._groups.reading_of]

    def with_unknown(self) -> "ZeroShotClassifier":
        """Return the classifier with one more answer, that an image shows none of the labels.

        It is ranked as the label "none of these". The scores of the labels are then multiplied by
        the probability that any applies, so that all of them still sum to 1. That probability is
        measured by everyday words: see :meth:`scores`.

        Returns:
            Another classifier; this one stays as it is.

        Raises:
            InputError: If labels are scored on their own, or one is "none of these" already.
        """
        if self.multi_label:
            raise InputError(
                "labels that are scored on their own need no answer for none of them: it is none "
                "where no score is .5 or more"
            )
        if NONE_OF_THESE in self.class_names:
            raise InputError(f'"{NONE_OF_THESE}" is the answer that is added: leave that label out')
        other = copy.copy(self)
        other._has_unknown = True
        return other

    def prepare(self, progress: Progress | None = None) -> None:
        """Embed now what scores on their own, and "none of these", are measured by.

        These everyday words in the templates are else embedded for the first images, which then
        take as long as some hundred prompts. Other classifiers by this one, such as
        :meth:`with_unknown` returns, have them too.

        Args:
            progress: Called after every batch of prompts with (done, total).
        """
        check_progress(progress)
        self.__dict__["_words"] = self._word_scale(progress)

    def calibrate(
        self, image_embeddings: Embeddings, labels: Sequence[int] | NDArray[np.integer[Any]]
    ) -> Calibration:
        """Return what images whose classes are known say of the probabilities.

        Args:
            image_embeddings: Shape (N, D), N >= 1, rows of norm 1, of the classifier's space.
            labels: The class of each image, in 0..C-1, shape (N,).

        Returns:
            The calibration, to save or for :meth:`with_calibration`.

        Raises:
            InputError: If shapes do not fit, a label is out of range, or multi_label was asked
                of a model that was not trained with the sigmoid loss.
            SpaceMismatchError: If the embeddings know that they are of another space.
            MissingExtraError: If SciPy is not installed.
        """
        self._check_calibrated()
        cosines = self._cosines(image_embeddings)
        numbers = check_labels(labels, len(cosines), len(self.class_names))
        groups = self._groups.group_of[numbers]
        losses = label_log_losses(cosines, self._encoder.scoring)[np.arange(len(groups)), groups]
        return Calibration(
            model=self._encoder.name,
            space_id=self._encoder.space_id,
            scoring=fit_scoring(cosines, groups, self._encoder.scoring),
            class_names=tuple(self.class_names),
            prompts_id=identify_prompts(self.class_names, self._prompts),
            log_losses=tuple(np.sort(losses).tolist()),
        )

    def with_calibration(self, calibration: Calibration) -> "ZeroShotClassifier":
        """Return the classifier with probabilities by a calibration, which may be of other labels.

        Args:
            calibration: Of the same model.

        Returns:
            Another classifier; this one stays as it is.

        Raises:
            SpaceMismatchError: If it is of another model.
            InputError: If multi_label was asked of a model that was not trained with the sigmoid
                loss, or the calibration is not of the loss that the model was trained with.
        """
        self._check_calibrated()
        if calibration.space_id != self._encoder.space_id:
            raise SpaceMismatchError(
                f"the calibration is of {calibration.model} (space {calibration.space_id}), and "
                f"the model is {self._encoder.name} (space {self._encoder.space_id}): calibrate "
                "this model, or load the other"
            )
        own, fitted = self._encoder.scoring.logit_bias, calibration.scoring.logit_bias
        if (own is None) != (fitted is None):
            kinds = ("softmax", "sigmoid") if own is None else ("sigmoid", "softmax")
            raise InputError(
                f"the model was trained with the {kinds[0]} loss, and the calibration is of the "
                f"{kinds[1]} loss by its bias ({fitted}): calibrate this model again"
            )
        other = copy.copy(self)
        other._calibration, other._scoring = calibration, calibration.scoring
        return other

    def label_sets(
        self, image_embeddings: Embeddings, *, coverage: float = 0.9
    ) -> list[list[LabelScore]]:
        """Return for each image the labels among which the right one is, with a guarantee.

        Of images that are drawn as those of the calibration were, and show one of the labels, at
        least this share get a set that holds the right label. That is so on average over such
        images and such calibrations; not for every class, nor for images of another kind.

        Args:
            image_embeddings: Shape (N, D), rows of norm 1, of the classifier's space.
            coverage: The share, above 0 and below 1.

        Returns:
            One set an image, best first, of one label at least, with the scores of :meth:`rank`.

        Raises:
            InputError: If there is no calibration, it is of other labels or prompts, or of too few
                images for that share.
            SpaceMismatchError: If the embeddings know that they are of another space.
        """
        if self._calibration is None:
            raise InputError("label sets need a calibration: give one with with_calibration")
        self._calibration.check_same_labels(self.class_names, self._prompts)
        threshold = self._calibration.threshold(coverage)
        losses = label_log_losses(self._cosines(image_embeddings), self._encoder.scoring)
        sizes = np.maximum(np.count_nonzero(losses <= threshold, axis=1), 1)
        rows = zip(self._scores(image_embeddings), losses, sizes.tolist(), strict=True)
        return [
            [  # scores may be rounded alike, log losses are not
                LabelScore(score=float(scores[at]), label=self.labels[at])
                for at in top_k(-some, size)
            ]
            for scores, some, size in rows
        ]

    def scores(self, image_embeddings: Embeddings) -> NDArray[np.float32]:
        """Return the score of every image for every class.

        Softmax over the classes, so that a row sums to 1; with multi_label each in [0, 1] alone.
        Spellings that the model reads as one count once in the sum, and each has that one's score.
        A checkpoint trained with the sigmoid loss gives the latter directly. For others it is
        sigmoid(2 * (evidence - 3.5)): by how many spreads the label lies above the background
        names on that image, in the same templates, less what its richness brings
        (clipkit.word_evidence; benchmarks/labels.py fits the two constants). With
        :meth:`with_unknown` a row sums to the probability that the image shows any of the classes
        (clipkit.zero_shot.label_evidence).

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
        if self.multi_label and not self._scoring.is_sigmoid:
            alone = self._evidence.scores(image_embeddings)
            return alone[:, self._groups.reading_of_group].astype(np.float32)
        scores = np.exp(-label_log_losses(self._cosines(image_embeddings), self._scoring))
        if self._has_unknown:
            scores *= self._evidence.known(image_embeddings)[:, None]
        return scores.astype(np.float32)

    def _cosines(self, image_embeddings: Embeddings) -> NDArray[np.float64]:
        """Return the cosine of every image and every label that is ranked, shape (N, G)."""
        cosines = cosine_similarity(image_embeddings, self._embeddings).astype(np.float64)
        return cosines[:, self._groups.reading_of_group]

    def _check_calibrated(self) -> None:
        if self.multi_label and not self._encoder.scoring.is_sigmoid:
            raise InputError(
                "a calibration is of labels that are scored against each other, and with "
                "multi_label each is scored on its own: leave one of the two out"
            )

    def _ranked(self, image_embeddings: Embeddings) -> NDArray[np.float32]:
        scores = self._scores(image_embeddings)
        if not self._has_unknown:
            return scores
        unknown = 1 - scores.sum(axis=1, dtype=np.float64, keepdims=True)
        return np.hstack([scores, unknown.clip(0, 1).astype(np.float32)])

    @property
    def _ranked_labels(self) -> list[str]:
        return [*self.labels, NONE_OF_THESE] if self._has_unknown else self.labels

    def only(self, class_names: Sequence[str]) -> "ZeroShotClassifier":
        """Return the classifier of some of the class names, without embedding them again.

        Args:
            class_names: Of this classifier's.

        Returns:
            Another classifier; this one stays as it is.
        """
        place_of = {name: place for place, name in enumerate(self.class_names)}
        places = [place_of[name] for name in class_names]
        part = copy.copy(self)
        part.class_names = list(class_names)
        part._prompts = [self._prompts[place] for place in places]
        part._groups = LabelGroups(class_names, [self._groups.readings[place] for place in places])
        firsts = [places[first] for first in part._groups.first_readings]
        part._embeddings = self._embeddings[self._groups.reading_of[firsts]]
        return part

    @property
    def _evidence(self) -> LabelEvidence:
        return LabelEvidence(self._words, self._embeddings)

    @functools.cached_property
    def _words(self) -> WordScale:
        """The background names as the measure of labels that are scored on their own."""
        return self._word_scale()

    def _word_scale(self, progress: Progress | None = None) -> WordScale:
        prompts = filled_prompts(BACKGROUND_NAMES, self.templates, None)
        return WordScale(self._encoder.encode_prompts(prompts, progress=progress))
