"""Retrieval evaluation: recall@k from images to texts and from texts to images.

Shapes: N images, T captions, M different texts, D dimensions, E pairs of an image and a text.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipkit.embeddings import Embeddings, check_comparable
from clipkit.errors import InputError
from clipkit.metrics.retrieval import retrieval_ranks, share_within

RECALL_KS = (1, 5, 10)


@dataclass(frozen=True)
class RetrievalReport:
    """How well images find their texts and texts their images."""

    num_images: int
    num_texts: int  # different ones
    # "image_to_text_recall@1", "text_to_image_recall@1", …: fractions in 0..1. A k that is larger
    # than the number of texts or of images to choose from would always be 1, and is left out.
    recalls: dict[str, float]
    # Of each image: the mean of its own recalls and of its texts', 0..1; NaN without a text.
    image_recalls: NDArray[np.float64] = field(
        default_factory=lambda: np.empty(0), repr=False, compare=False
    )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, as JSON can hold them; what is known of each is left out."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.repr}


def evaluate_retrieval(
    image_embeddings: Embeddings,
    text_embeddings: Embeddings,
    image_of_text: ArrayLike,
    *,
    texts: Sequence[Hashable] | None = None,
    ks: Sequence[int] = RECALL_KS,
) -> RetrievalReport:
    """Return recall@k from images to texts and from texts to images.

    An image finds its texts if any of them is among the k closest of all texts; a text finds its
    image if any that carries it is among the k closest of all images. Equal captions are one
    text, which is right for every image that carries it, is ranked once and is one query: fifty
    cards with the caption "card" are neither fifty mistakes nor fifty successes.

    Figures of different sets do not compare: they fall as the set grows.

    Args:
        image_embeddings: Shape (N, D), rows of norm 1. An image without a text is a distractor.
        text_embeddings: One row a caption, shape (T, D), rows of norm 1.
        image_of_text: Number of the image that each caption belongs to, shape (T,), in
            0..N-1.
        texts: What the captions say, T of them, or numbers that say which are equal; None: no two
            are.
        ks: Lengths of the ranked lists, each at least 1.

    Returns:
        The recalls.

    Raises:
        InputError: If there is no image or no text, shapes do not fit, rows are not of norm 1, or
            a number is out of range.
        SpaceMismatchError: If both embeddings know their spaces and these differ.

    Source:
        Karpathy & Fei-Fei 2015 (arXiv 1412.2306); several captions an image as in
        LAION-AI/CLIP_benchmark, ``metrics/zeroshot_retrieval.py``. Equal captions: own.
    """
    images = np.asarray(image_of_text)
    image_embeddings, text_embeddings = check_comparable(
        image_embeddings, text_embeddings, ("image_embeddings", "text_embeddings")
    )
    _check(image_embeddings, text_embeddings, images, texts)
    if min(ks, default=1) < 1:
        raise InputError(f"every k must be at least 1, got {list(ks)}")
    first, text_of_caption = _distinct(len(text_embeddings), texts)
    distinct = text_embeddings[first]  # (M, D)
    # The images that are queries: those with a text.
    asking, asker_of_caption = np.unique(images, return_inverse=True)
    to_text = retrieval_ranks(image_embeddings[asking], distinct, asker_of_caption, text_of_caption)
    to_image = retrieval_ranks(distinct, image_embeddings, text_of_caption, images)
    recalls = {
        f"{name}_recall@{k}": share_within(ranks, k=k)
        for name, ranks, num_items in (
            ("image_to_text", to_text, len(distinct)),
            ("text_to_image", to_image, len(image_embeddings)),
        )
        for k in ks
        if k <= num_items
    }
    hits = [_mean_hits(to_text, ks, len(distinct)), _mean_hits(to_image, ks, len(image_embeddings))]
    image_recalls = np.full(len(image_embeddings), np.nan)
    of_texts = np.bincount(asker_of_caption, weights=hits[1][text_of_caption])
    image_recalls[asking] = (hits[0] + of_texts / np.bincount(asker_of_caption)) / 2
    return RetrievalReport(len(image_embeddings), len(distinct), recalls, image_recalls)


def _mean_hits(ranks: NDArray[np.intp], ks: Sequence[int], num_items: int) -> NDArray[np.float64]:
    """Return each query's share of the ks within which it finds something."""
    known = [k for k in ks if k <= num_items]
    return np.mean([ranks < k for k in known], axis=0) if known else np.ones(len(ranks))


def _distinct(
    num_captions: int, texts: Sequence[Hashable] | None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the first caption of each text, (M,), and the text of each caption, (T,)."""
    if texts is None:
        return np.arange(num_captions), np.arange(num_captions)
    number_of: dict[Hashable, int] = {}
    first: list[int] = []
    for caption, text in enumerate(texts):
        if number_of.setdefault(text, len(first)) == len(first):
            first.append(caption)
    return np.array(first), np.array([number_of[text] for text in texts])


def _check(
    images: Embeddings,
    captions: Embeddings,
    image_numbers: NDArray[np.integer[Any]],
    texts: Sequence[Hashable] | None,
) -> None:
    if not len(images) or not len(captions):
        raise InputError(
            "retrieval needs at least one image and one text, "
            f"got {len(images)} images and {len(captions)} texts"
        )
    num_texts = len(captions) if texts is None else len(texts)
    if image_numbers.shape != (len(captions),) or num_texts != len(captions):
        raise InputError(
            f"each of {len(captions)} caption embeddings needs the number of its image and its "
            f"text, got numbers of shape {image_numbers.shape} and {num_texts} texts"
        )
    if not np.issubdtype(image_numbers.dtype, np.integer):
        raise InputError(f"image_of_text must be whole numbers, got {image_numbers.dtype}")
    if not ((image_numbers >= 0) & (image_numbers < len(images))).all():
        raise InputError(
            f"image_of_text must be in 0..{len(images) - 1} for {len(images)} images, "
            f"got {image_numbers.min()}..{image_numbers.max()}"
        )
