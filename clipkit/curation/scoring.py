"""CLIPScore and RefCLIPScore: how well a caption fits its image, by a model's own eyes.

Shapes: N captions, each with the image it belongs to, R references, D dimensions.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import PurePath
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipkit.data.pair import PairDataset
from clipkit.embeddings import Embeddings, check_comparable
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.pairs import EmbeddedPair, stream_pairs
from clipkit.encoder.text_embedding import warn_of_unknown
from clipkit.errors import ImageReadError, InputError
from clipkit.progress import Progress

SCORE_WEIGHT = 2.5
"""What cosines are multiplied by, so that most scores lie in 0..1 (Hessel et al. 2021)."""

SCORE_PROMPT = "A photo depicts "
"""What stands before every caption and reference (Hessel et al. 2021)."""

References = Mapping[str, Sequence[str]]
"""Captions known to be right, by the path of the image, its file's name, or that without its
ending; in shards by the name of the pair."""


class CaptionScore(NamedTuple):
    """How well one caption of a pair fits."""

    row: int  # of the pair in its source
    name: str  # path of the image, or the pair's own name
    caption: str
    clip_score: float  # 0..2.5
    ref_clip_score: float | None  # 0..1.43; None without references


@dataclass(frozen=True)
class ScoredBatch:
    """The captions of some pairs."""

    scores: list[CaptionScore]  # of one pair in their order
    skipped: list[ImageReadError]


def clip_scores(image_embeddings: Embeddings, text_embeddings: Embeddings) -> NDArray[np.float32]:
    """Return CLIPScore, 2.5 times the cosine of an image and its caption, negative ones as 0.

    Args:
        image_embeddings: The image of each caption, shape (N, D), rows of norm 1.
        text_embeddings: Each caption behind `SCORE_PROMPT`, shape (N, D), rows of norm 1.

    Returns:
        float32, shape (N,), in 0..2.5. Higher fits better. Scores of two models do not compare.

    Raises:
        InputError: If the shapes differ, or rows are not of norm 1.
        SpaceMismatchError: If both embeddings know their spaces and these differ.

    Source:
        Hessel et al. 2021, section 3 (arXiv 2104.08718); jmhessel/clipscore, ``clipscore.py``.

    Example:
        >>> clip_scores(np.array([[1.0, 0.0]]), np.array([[0.6, 0.8]])).tolist()
        [1.5]
    """
    if np.shape(image_embeddings) != np.shape(text_embeddings):
        raise InputError(
            "each caption needs its image: embeddings must have one shape (N, D), "
            f"got {np.shape(image_embeddings)} and {np.shape(text_embeddings)}"
        )
    images, texts = check_comparable(
        image_embeddings, text_embeddings, ("image_embeddings", "text_embeddings")
    )
    cosines = np.einsum("nd,nd->n", images, texts)
    scores: NDArray[np.float32] = (SCORE_WEIGHT * np.clip(cosines, 0, 1)).astype(np.float32)
    return scores


def ref_clip_scores(
    scores: ArrayLike,
    text_embeddings: Embeddings,
    reference_embeddings: Embeddings,
    caption_of_reference: ArrayLike,
) -> NDArray[np.float32]:
    """Return RefCLIPScore, the harmonic mean of CLIPScore and the cosine to the best reference.

    Args:
        scores: CLIPScore of each caption, shape (N,).
        text_embeddings: Each caption behind `SCORE_PROMPT`, shape (N, D), rows of norm 1.
        reference_embeddings: Each reference behind `SCORE_PROMPT`, shape (R, D), rows of norm 1.
        caption_of_reference: Number of the caption it belongs to, shape (R,), in 0..N-1.

    Returns:
        float32, shape (N,), in 0..1.43; 0 if either part is, NaN for captions without a reference.

    Raises:
        InputError: If the shapes do not fit, or rows are not of norm 1.
        SpaceMismatchError: If both embeddings know their spaces and these differ.

    Source:
        Hessel et al. 2021, section 3: cosines to references below 0 count as 0. (The authors' code
        leaves that out, which matters for texts that are opposites only.)

    Example:
        >>> ref_clip_scores([1.5], np.eye(2)[:1], np.array([[0.5, 0.75**0.5]]), [0]).tolist()
        [0.75]
    """
    texts, references = check_comparable(
        text_embeddings, reference_embeddings, ("text_embeddings", "reference_embeddings")
    )
    fits = np.asarray(scores, dtype=np.float64)
    owners = np.asarray(caption_of_reference, dtype=np.intp)
    if fits.shape != texts.shape[:1] or owners.shape != references.shape[:1]:
        raise InputError(
            f"each of {len(texts)} captions needs a score and each of {len(references)} references "
            f"the number of its caption, got shapes {fits.shape} and {owners.shape}"
        )
    cosines = np.einsum("rd,rd->r", texts[owners], references)
    best = np.full(len(fits), np.nan)
    np.fmax.at(best, owners, cosines)  # fmax: any number is more than NaN
    best = np.clip(best, 0, 1)
    sums = fits + best
    harmonic = 2 * fits * best / np.where(sums == 0, 1, sums)
    means: NDArray[np.float32] = harmonic.astype(np.float32)
    return means


def score_pairs(
    encoder: Encoder,
    source: PairDataset,
    *,
    references: References | None = None,
    progress: Progress | None = None,
) -> Generator[ScoredBatch]:
    """Yield the score of every caption, batch by batch.

    Args:
        encoder: The model. CLIPScore as published is that of OpenAI's ViT-B/32.
        source: The pairs.
        references: Captions known to be right; None: RefCLIPScore is not computed.
        progress: Called after every batch of pairs with (done, total).

    Yields:
        Scores in the order of the pairs, and images that could not be read.
    """
    with closing(stream_pairs(encoder, source, progress=progress)) as batches:
        for batch in batches:
            counts = [len(pair.captions) for pair in batch.pairs]
            captions = [caption for pair in batch.pairs for caption in pair.captions]
            warn_of_unknown(encoder.unknown_texts(captions), "captions")
            texts = _encode(encoder, captions)
            images = np.repeat(batch.embeddings, counts, axis=0)
            fits = clip_scores(images, texts)
            refs: list[float | None] = [None] * len(captions)
            owners = [pair for pair in batch.pairs for _ in pair.captions]
            if references is not None:
                refs = _reference_scores(encoder, fits, texts, owners, references)
            scores = [
                CaptionScore(pair.row, pair.name, caption, float(fit), ref)
                for pair, caption, fit, ref in zip(owners, captions, fits, refs, strict=True)
            ]
            yield ScoredBatch(scores, [unread.error for unread in batch.skipped])


def _reference_scores(
    encoder: Encoder,
    fits: NDArray[np.float32],
    texts: Embeddings,
    owners: Sequence[EmbeddedPair],
    references: References,
) -> list[float | None]:
    """Return RefCLIPScore of each caption, None where its pair has no references."""
    of_each = [_references_of(pair.name, references) for pair in owners]
    known = [reference for some in of_each for reference in some]
    numbers = np.repeat(np.arange(len(owners)), [len(some) for some in of_each])
    means = ref_clip_scores(fits, texts, _encode(encoder, known), numbers)
    return [None if np.isnan(mean) else float(mean) for mean in means]


def _references_of(name: str, references: References) -> Sequence[str]:
    keys = (name, PurePath(name).name, PurePath(name).stem)
    return next((references[key] for key in keys if key in references), ())


def _encode(encoder: Encoder, texts: Sequence[str]) -> Embeddings:
    return encoder.encode_texts([SCORE_PROMPT + text for text in texts])
