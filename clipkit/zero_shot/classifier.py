"""Class names to a classifier, without training.

Shapes: N pictures, C classes, B background names, D dimensions of the shared space.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from clipkit.background_names import BACKGROUND_NAMES
from clipkit.embeddings import Embeddings, cosine_similarity, normalize_rows, top_k
from clipkit.encoder import Encoder
from clipkit.errors import InputError
from clipkit.inputs.images import ImageInput
from clipkit.progress import Progress
from clipkit.zero_shot.templates import DEFAULT_TEMPLATES, fill_template, resolve_templates

# A background name this close to a label is a synonym, which must not count against it.
SYNONYM_COSINE = 0.6
CACHED_CLASSES = 20_000  # 30 MB at 384 dimensions


class LabelScore(TypedDict):
    """One label of a picture, as users of transformers' pipeline expect it."""

    score: float
    label: str


class ZeroShotClassifier:
    """Scores pictures against class names.

    Args:
        encoder: The model.
        class_names: C names, C >= 1. A name given twice counts once.
        templates: The name of a set in TEMPLATE_SETS, one template, or several.
        domain: What kind of things the classes are, in the singular: "food", "bird".
        multi_label: Whether every class is scored on its own, so that several or none may apply.
            Checkpoints trained with the sigmoid loss always do so.
        progress: Called after every batch of prompts with (done, total).

    Raises:
        InputError: If there is no class name, or one is empty.
        PromptError: If a template does not have exactly one {}.
    """

    def __init__(
        self,
        encoder: Encoder,
        class_names: Sequence[str],
        *,
        templates: str | Sequence[str] = DEFAULT_TEMPLATES,
        domain: str | None = None,
        multi_label: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.class_names = check_class_names(class_names)
        self.templates = resolve_templates(templates)
        self.multi_label = multi_label or encoder.scoring.is_sigmoid
        self._encoder = encoder
        self.class_embeddings = embed_classes(
            encoder, self.class_names, templates=self.templates, domain=domain, progress=progress
        )

    def classify(
        self,
        images: Iterable[ImageInput],
        *,
        top: int | None = None,
        progress: Progress | None = None,
    ) -> list[list[LabelScore]]:
        """Return the labels of each picture, best first.

        Args:
            images: N pictures, as for :meth:`clipkit.Encoder.encode_images`.
            top: How many labels a picture; None for all.
            progress: Called after every batch with (done, total).

        Returns:
            One list a picture, in the order of the pictures.

        Raises:
            ImageReadError: At the first picture that cannot be read.
        """
        return self.rank(self._encoder.encode_images(images, progress=progress), top=top)

    def rank(
        self, image_embeddings: Embeddings, *, top: int | None = None
    ) -> list[list[LabelScore]]:
        """Return the labels of pictures that are embedded already, best first.

        Args:
            image_embeddings: Shape (N, D), of the classifier's space.
            top: How many labels a picture; None for all.

        Returns:
            One list a picture. Labels of equal score keep the order of the class names.

        Raises:
            InputError: If the shapes do not fit or top is less than 1.
        """
        scores = self.scores(image_embeddings)
        count = len(self.class_names) if top is None else top
        return [
            [
                LabelScore(score=float(row[place]), label=self.class_names[place])
                for place in top_k(row, count)
            ]
            for row in scores
        ]

    def scores(self, image_embeddings: Embeddings) -> NDArray[np.float32]:
        """Return the score of every picture for every class.

        Softmax over the classes, so that a row sums to 1; with multi_label each in [0, 1] alone.
        A checkpoint trained with the sigmoid loss says the latter itself; for others it is the
        chance of the label against the closest background name that is not its synonym.

        Args:
            image_embeddings: Shape (N, D), of the classifier's space.

        Returns:
            float32, shape (N, C).

        Raises:
            InputError: If the shapes do not fit.

        Source:
            Softmax: Radford et al. 2021, figure 3 (arXiv 2103.00020). Sigmoid: Zhai et al. 2023
            (arXiv 2303.15343). Background names: own.
        """
        scoring = self._encoder.scoring
        scale = np.exp(scoring.logit_scale)
        cosines = cosine_similarity(image_embeddings, self.class_embeddings).astype(np.float64)
        if scoring.logit_bias is not None:
            return _sigmoid(scale * cosines + scoring.logit_bias)
        if self.multi_label:
            rivals = self._closest_rivals(image_embeddings)
            return _sigmoid(scale * (cosines - rivals))
        return _softmax(scale * cosines)

    def _closest_rivals(self, image_embeddings: Embeddings) -> NDArray[np.float64]:
        """Return the cosine of each picture to the closest background name, per class, (N, C)."""
        background = embed_classes(
            self._encoder, BACKGROUND_NAMES, templates=self.templates, domain=None
        )
        is_rival = cosine_similarity(self.class_embeddings, background) < SYNONYM_COSINE  # (C, B)
        cosines = cosine_similarity(image_embeddings, background)  # (N, B)
        rivals = np.empty((len(cosines), len(self.class_names)))
        for row, cosine in zip(rivals, cosines, strict=True):
            row[:] = np.where(is_rival, cosine, -1.0).max(axis=1)
        return rivals


def classify_each(
    encoder: Encoder,
    images: Sequence[ImageInput],
    class_names: Sequence[Sequence[str]],
    *,
    templates: str | Sequence[str] = DEFAULT_TEMPLATES,
    top: int | None = None,
) -> list[list[LabelScore]]:
    """Return the labels of each picture out of a list of its own, best first.

    Args:
        encoder: The model.
        images: N pictures.
        class_names: N lists of names.
        templates: As for ZeroShotClassifier.
        top: How many labels a picture; None for all.

    Returns:
        One list a picture.

    Raises:
        InputError: If the counts differ or a list is empty.
        ImageReadError: At the first picture that cannot be read.
    """
    if len(images) != len(class_names):
        raise InputError(
            f"one list of labels a picture is needed, got {len(class_names)} for {len(images)}"
        )
    # All names at once: prompts shared by many pictures go through the tower once.
    everything = list(dict.fromkeys(name for names in class_names for name in names))
    if everything:
        embed_classes(
            encoder, check_class_names(everything), templates=resolve_templates(templates)
        )
    ranked = []
    for embedding, names in zip(encoder.encode_images(images), class_names, strict=True):
        classifier = ZeroShotClassifier(encoder, names, templates=templates)
        ranked += classifier.rank(embedding[None], top=top)
    return ranked


def check_class_names(class_names: Sequence[str]) -> list[str]:
    """Return class names without repeats and outer spaces.

    Args:
        class_names: At least one name.

    Returns:
        The names, in their order.

    Raises:
        InputError: If there is none, one is empty, or a single string was given.
    """
    if isinstance(class_names, str):
        raise InputError(f"class_names must be a list of names, got the string {class_names!r}")
    if not class_names:
        raise InputError("at least one class name is needed, got none")
    names = [name.strip() for name in class_names]
    if not all(names):
        raise InputError(f"class name {names.index('') + 1} of {len(names)} is empty")
    return list(dict.fromkeys(names))


_cache: OrderedDict[tuple[object, ...], NDArray[np.float32]] = OrderedDict()
_cache_lock = threading.Lock()


def embed_classes(
    encoder: Encoder,
    class_names: Sequence[str],
    *,
    templates: Sequence[str],
    domain: str | None = None,
    progress: Progress | None = None,
) -> Embeddings:
    """Return one embedding a class: the mean over its prompts, as CLIP's authors do it.

    Prompts are normalised before the mean and the mean after. Classes are remembered by space,
    name, templates and domain, so that asking again costs nothing.

    Args:
        encoder: The model.
        class_names: C names.
        templates: At least one text with one {}.
        domain: What kind of things the classes are, or None.
        progress: Called after every batch of prompts with (done, total).

    Returns:
        Shape (C, D), rows of norm 1.

    Source:
        openai/CLIP, ``notebooks/Prompt_Engineering_for_ImageNet.ipynb``.
    """
    keys = [(encoder.space_id, name, tuple(templates), domain) for name in class_names]
    with _cache_lock:
        rows = {key: _cache[key] for key in keys if key in _cache}
    missing = [key for key in dict.fromkeys(keys) if key not in rows]
    prompts = [
        fill_template(template, str(name), domain=domain)
        for _, name, *_ in missing
        for template in templates
    ]
    means = encoder.encode_texts(prompts, progress=progress)
    means = means.reshape(len(missing), len(templates), encoder.embed_dim).mean(axis=1)
    rows |= dict(zip(missing, normalize_rows(means), strict=True))
    with _cache_lock:
        for key in keys:
            _cache[key] = rows[key]
            _cache.move_to_end(key)
        while len(_cache) > CACHED_CLASSES:
            _cache.popitem(last=False)
    return np.stack([rows[key] for key in keys])


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return softmax over the last axis, safe for large logits."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    scores: NDArray[np.float32] = (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)
    return scores


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the logistic function, safe for large logits of either sign."""
    powers = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + powers), powers / (1 + powers)).astype(np.float32)
