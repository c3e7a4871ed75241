"""From a question as vectors to the target that pictures are ranked by.

Shapes: D dimensions of the shared space, B background words, S sampled pictures.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings, mix_embeddings
from clipkit.search.embedding import EmbeddedPart, Question
from clipkit.search.feedback import refit_direction
from clipkit.search.mixing import (
    Direction,
    center_rows,
    check_remains,
    estimate_center,
    estimate_spread,
    mix_parts,
)
from clipkit.search.ranking import Subtracted, Target

_COMPARED = 256  # pictures that tell how alike unrelated ones are


def plain_target(part: EmbeddedPart) -> Target:
    """Return what pictures should be close to, if that is one text or picture."""
    return Target(mix_embeddings(part.embedding[None, :], [part.weight])[0])


def mixed_target(question: Question, sample: Embeddings, background: Embeddings) -> Target:
    """Return what pictures should be close to, if several things are mixed or pictures marked.

    Each kind is seen from its own centre.

    Args:
        question: What is sought.
        sample: Pictures that stand for the library, shape (S, D).
        background: Everyday words, shape (B, D).

    Returns:
        The target: what is added and marked as a direction, what is subtracted beside it. With
        nothing added, the direction points away from what is subtracted.

    Raises:
        InputError: If the parts cancel out.
    """
    kinds = _Kinds(sample, background)
    added, subtracted = split_parts(question)
    query = kinds.mix(added) if added else None
    if len(question.liked) or len(question.disliked):
        query = refit_direction(question.liked, question.disliked, kinds.picture_center, query)
    assert query is not None
    if not subtracted:
        return Target(query, kinds.picture_center)
    strongest = max((part.weight for part in added), default=1.0)
    away = []
    for part in subtracted:
        direction = kinds.direction(part)
        check_remains(query, direction)
        away.append(Subtracted(direction, kinds.spread(part), -part.weight / strongest))
    return Target(query, kinds.picture_center, kinds.mean_spread(added), tuple(away))


def split_parts(question: Question) -> tuple[list[EmbeddedPart], list[EmbeddedPart]]:
    """Return the parts that say what is sought, and those that are subtracted from it.

    Args:
        question: What is sought.

    Returns:
        Added and subtracted parts. If nothing else says what is sought, going away from the
        subtracted parts is, and they are the first.
    """
    added = [part for part in question.parts if part.weight > 0]
    subtracted = [part for part in question.parts if part.weight < 0]
    if not added and not len(question.liked):
        return subtracted, []
    return added, subtracted


class _Kinds:
    """What texts have in common, and what pictures have.

    Args:
        sample: Pictures that stand for the library, shape (S, D).
        background: Everyday words, shape (B, D).
    """

    def __init__(self, sample: Embeddings, background: Embeddings) -> None:
        self._sample, self._background = sample, background
        self.picture_center, self._text_center = library_center(sample), library_center(background)

    def mix(self, parts: Sequence[EmbeddedPart]) -> Direction:
        """Return where parts point together."""
        centers = np.stack([self._center(part) for part in parts])
        return mix_parts(
            np.stack([part.embedding for part in parts]), [part.weight for part in parts], centers
        )

    def direction(self, part: EmbeddedPart) -> Direction:
        """Return where a part points, whatever its weight."""
        direction: Direction = center_rows(part.embedding[None, :], self._center(part))[0]
        return direction

    def spread(self, part: EmbeddedPart) -> float:
        """Return the spread of the cosines of unrelated things of the same kind to pictures."""
        pictures = center_rows(self._sample[:_COMPARED], self.picture_center)
        if part.is_picture:
            return estimate_spread(pictures, pictures)
        return estimate_spread(center_rows(self._background, self._text_center), pictures)

    def mean_spread(self, parts: Sequence[EmbeddedPart]) -> float:
        """Return the spread of parts mixed; of pictures that were marked, if there are none."""
        if not parts:
            return self.spread(EmbeddedPart(self.picture_center, is_picture=True))
        weights = [abs(part.weight) for part in parts]
        return float(np.average([self.spread(part) for part in parts], weights=weights))

    def _center(self, part: EmbeddedPart) -> NDArray[np.float32]:
        return self.picture_center if part.is_picture else self._text_center


def library_center(embeddings: Embeddings) -> NDArray[np.float32]:
    """Return the centre of a kind of embeddings; of none, the origin."""
    if not len(embeddings):
        return np.zeros(embeddings.shape[1], dtype=np.float32)
    return estimate_center(embeddings.mean(axis=0), len(embeddings))
