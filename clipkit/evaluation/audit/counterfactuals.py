"""Counterfactual prompts: what changes if words such as "man" and "woman" are swapped.

Shapes: N images, C classes, D dimensions.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings
from clipkit.errors import InputError
from clipkit.evaluation.audit.group_ranking import list_lengths
from clipkit.evaluation.audit.report import Counterfactual
from clipkit.evaluation.audit.scores import AuditImages, AuditTexts
from clipkit.metrics.comparison import bootstrap_interval, share_interval
from clipkit.metrics.fairness import top_shares

Swap = tuple[str, str]
DEFAULT_SWAPS: tuple[Swap, ...] = (
    ("man", "woman"),
    ("men", "women"),
    ("boy", "girl"),
    ("boys", "girls"),
    ("male", "female"),
    ("father", "mother"),
    ("husband", "wife"),
    ("he", "she"),
    ("his", "her"),
    ("young", "old"),
)
_BLOCK_CELLS = 2**22  # cosines held at once


def parse_swap(text: str) -> Swap:
    """Return the two sides of "man=woman".

    Args:
        text: Words on both sides of one equals sign.

    Returns:
        Both sides, each swapped for the other.

    Raises:
        InputError: If it is none.
    """
    sides = [" ".join(side.split()) for side in text.split("=")]
    if len(sides) != 2 or not all(sides) or sides[0].lower() == sides[1].lower():
        raise InputError(f'two different words as in "man=woman" are needed, got {text!r}')
    return sides[0], sides[1]


def swap_words(text: str, swap: Swap) -> str:
    """Return a text with each side of a swap in the place of the other, whole words only.

    Args:
        text: Any.
        swap: The two sides, in any case.

    Returns:
        The same text if neither side is in it.

    Example:
        >>> swap_words("a man and a woman on a mandolin", ("man", "woman"))
        'a woman and a man on a mandolin'
    """
    other = {swap[0].lower(): swap[1], swap[1].lower(): swap[0]}
    sides = "|".join(re.escape(side) for side in sorted(other, key=len, reverse=True))
    return re.sub(
        rf"(?<!\w)(?:{sides})(?!\w)", lambda found: other[found[0].lower()], text, flags=re.I
    )


def swapped_texts(texts: Sequence[str], swaps: Sequence[Swap]) -> list[tuple[int, str]]:
    """Return the texts that a swap changes, by their place, each with what it becomes.

    Args:
        texts: Class names or queries.
        swaps: Tried one by one.

    Returns:
        Without those that become another of the texts.
    """
    known = {text.lower() for text in texts}
    found: dict[tuple[int, str], None] = {}
    for place, text in enumerate(texts):
        for swap in swaps:
            other = swap_words(text, swap)
            if other.lower() not in known:
                found[place, other] = None
    return list(found)


def swap_queries(
    images: Embeddings, pairs: Sequence[tuple[str, str]], embeddings: tuple[Embeddings, Embeddings]
) -> list[Counterfactual]:
    """Return what changes in the rankings of queries.

    Args:
        images: Shape (N, D), rows of norm 1.
        pairs: Each query and what it becomes.
        embeddings: Of the queries and of what they become, rows of norm 1.

    Returns:
        One result a pair.
    """
    k = min(list_lengths(len(images))[-1], len(images))
    found = []
    for (text, other), before, after in zip(pairs, *embeddings, strict=True):
        cosines = [np.asarray(images @ row, np.float64) for row in (before, after)]
        shares = [top_shares(np.round(some, 6), k=k) for some in cosines]
        # Of the k places: how many hold another image.
        changed = float(np.maximum(shares[0] - shares[1], 0).sum()) / k
        found.append(
            Counterfactual(
                kind="query",
                text=text,
                swapped=other,
                changed=share_interval(np.full(k, min(changed, 1.0))),
                k=k,
                shift=bootstrap_interval(cosines[1] - cosines[0]),
            )
        )
    return found


def swap_classes(
    images: AuditImages, texts: AuditTexts, pairs: Sequence[tuple[int, str]], swapped: Embeddings
) -> list[Counterfactual]:
    """Return what changes in the answers if one class is called otherwise.

    Args:
        images: N.
        texts: With the C classes.
        pairs: The number of a class and what it is called then.
        swapped: Embeddings of these names, rows of norm 1.

    Returns:
        One result a pair. An image whose answer is the class under either name is not changed.
    """
    if not pairs:
        return []
    rows, names = images.embeddings, texts.class_names
    best, cosine, second = _two_best(rows, texts.classes)
    found = []
    for (number, other), embedding in zip(pairs, swapped, strict=True):
        after = np.asarray(rows @ embedding, np.float64)
        before = np.asarray(rows @ texts.classes[number], np.float64)
        rival = np.where(best == number, second, cosine)
        was, is_now = best == number, after > rival
        own = images.labels == number
        change = (is_now[own].astype(np.float64) - was[own]) if own.any() else None
        found.append(
            Counterfactual(
                kind="class",
                text=names[number],
                swapped=other,
                changed=share_interval((was != is_now).astype(np.float64)),
                k=None,
                shift=bootstrap_interval(after - before),
                recall_change=None if change is None else bootstrap_interval(change),
            )
        )
    return found


def _two_best(
    images: Embeddings, classes: Embeddings
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """Return the nearest class of each image, its cosine, and that of the next."""
    parts = []
    size = max(1, _BLOCK_CELLS // len(classes))
    for start in range(0, len(images), size):
        cosines = np.asarray(images[start : start + size] @ classes.T, np.float64)
        best = cosines.argmax(axis=1)
        top = cosines[np.arange(len(best)), best]
        cosines[np.arange(len(best)), best] = -np.inf
        parts.append((best, top, cosines.max(axis=1)))
    best, top, second = (np.concatenate(some) for some in zip(*parts, strict=True))
    return best, top, second
