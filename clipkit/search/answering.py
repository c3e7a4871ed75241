"""From a question as vectors to the pictures that answer it.

Shapes: D dimensions of the shared space, K candidates, B background words, S sampled pictures.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import check_share, check_whole
from clipkit.embeddings import Embeddings, normalize_rows
from clipkit.errors import InputError
from clipkit.search.diversity import diversify
from clipkit.search.embedding import EmbeddedPart, Question
from clipkit.search.entries import ImageRow
from clipkit.search.filters import FilterOptions
from clipkit.search.mixing import center_rows
from clipkit.search.ranking import Candidates, rank
from clipkit.search.raw_pairs import raw_files
from clipkit.search.relevance import NullDistribution
from clipkit.search.snapshot import Snapshot
from clipkit.search.targeting import library_center, mixed_target, plain_target

Sort = Literal["best", "newest", "oldest"]
"""In which order the best k are shown: by what fits, or by when they were taken."""
SORTS: tuple[Sort, ...] = get_args(Sort)

_SAMPLE = 1024  # pictures that stand for the library: their mean is good to 3 % of their spread
_POOL = 200  # candidates that relevance and variety choose from, at least


@dataclass(frozen=True)
class SearchHit:
    """One picture a search found."""

    similarity: float  # cosine to the query, -1..1; higher is closer
    relevance: float  # how likely it fits the query, 0..1, comparable between queries
    path: Path  # the library's folder, as it was given, joined with the path inside it
    width: int | None = None  # pixels, upright; None where the file does not say
    height: int | None = None
    # Local time, as in 2024-06-01T12:30:00, or the day alone: by EXIF, XMP or the name of the file.
    taken_at: str | None = None
    raw: Path | None = None  # the camera's RAW file beside it, which is no result of its own


@dataclass(frozen=True)
class Answer:
    """One picture that answers a question."""

    image: ImageRow
    similarity: float  # cosine to the query
    relevance: float  # 0..1
    raw: str | None = None  # path of the RAW file that the picture stands for

    @property
    def date(self) -> str:
        """When it was taken, or else when its file was last changed: local time."""
        changed = datetime.fromtimestamp(self.image.mtime_ns // 10**9)
        return self.image.taken_at or changed.isoformat(timespec="seconds")


class SearchOptions(FilterOptions, total=False):
    """What `PhotoLibrary.search` takes beside a query: filters, and the order of the results."""

    sort: Sort


@dataclass(frozen=True)
class Answering:
    """How questions are answered: as `PhotoLibrary.search` says."""

    k: int = 10
    min_relevance: float = 0.0
    diversity: float = 0.0
    sort: Sort = "best"

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        object.__setattr__(self, "k", check_whole(self.k, "k"))
        for name in ("min_relevance", "diversity"):
            object.__setattr__(self, name, check_share(getattr(self, name), name))
        if self.sort not in SORTS:
            raise InputError(f"sort must be one of {', '.join(SORTS)}; got {self.sort!r}")

    def answer(
        self,
        snapshot: Snapshot,
        question: Question,
        candidates: Candidates,
        background: Embeddings,
    ) -> list[Answer]:
        """Return the pictures that answer a question.

        Args:
            snapshot: The library's state.
            question: What is sought.
            candidates: Which pictures may be answers.
            background: Everyday words that a query is weighed against, shape (B, D).

        Returns:
            The best k, sorted as was wished.

        Raises:
            InputError: If an embedding of the question has another size than the library's, or
                its parts cancel out.
        """
        _check_size(question, snapshot.meta.embed_dim)
        is_plain = len(question.parts) == 1 and not (len(question.liked) or len(question.disliked))
        if is_plain:
            target = plain_target(question.parts[0])
        else:
            target = mixed_target(question, _sample(snapshot), background)
        pool = rank(
            snapshot.catalog,
            snapshot.vectors,
            target,
            k=max(_POOL, 4 * self.k),
            candidates=candidates,
        )
        raws = raw_files((hit.path for hit in pool), candidates.hidden)
        pool = [hit for hit in pool if hit.path not in raws]
        if not pool:
            return []
        sample = _sample(snapshot)  # after the scan, which brings the file into memory in one go
        rows = normalize_rows(snapshot.vectors.take(np.array([hit.row for hit in pool])))
        null = NullDistribution(background, sample)
        embeddings, weights, is_picture = zip(*_parts(question), strict=True)
        relevance = null.relevance(np.stack(embeddings), weights, is_picture, rows)
        chosen = self._choose(relevance, center_rows(rows, library_center(sample)))
        entries = snapshot.catalog.entries(pool[place].row for place in chosen)
        raw_of = {shown: raw for raw, shown in raws.items()}
        answers = [
            Answer(
                entries[pool[place].row],
                pool[place].similarity,
                float(relevance[place]),
                raw_of.get(pool[place].path),
            )
            for place in chosen
        ]
        if self.sort != "best":
            answers.sort(key=lambda answer: answer.date, reverse=self.sort == "newest")
        return answers

    def _choose(self, relevance: NDArray[np.float64], spread: Embeddings) -> list[int]:
        """Return which of the candidates, best first, to show, and in which order.

        Args:
            relevance: Of the K candidates.
            spread: Their embeddings as seen from the pictures' centre, shape (K, D).

        Returns:
            Positions among the candidates, at most k.
        """
        relevant = np.flatnonzero(relevance >= self.min_relevance)
        if self.diversity == 0:
            return [int(place) for place in relevant[: self.k]]
        if not len(relevant):
            return []
        order = diversify(
            relevance[relevant], spread[relevant], k=self.k, tradeoff=1 - self.diversity
        )
        return [int(place) for place in relevant[order]]


def _check_size(question: Question, embed_dim: int) -> None:
    """Refuse embeddings of another model."""
    for part in question.parts:
        if part.embedding.shape != (embed_dim,):
            raise InputError(
                f"an embedding to search for must have shape ({embed_dim},) or (1, {embed_dim}), "
                f"got {part.embedding.shape}"
            )


def _sample(snapshot: Snapshot) -> Embeddings:
    """Return pictures that stand for the library, shape (S, D)."""
    return normalize_rows(snapshot.vectors.take(snapshot.catalog.sample(_SAMPLE)))


def _parts(question: Question) -> list[EmbeddedPart]:
    """Return the parts of a question, pictures that were marked among them."""
    # What is sought is not the opposite of what is wrong, if anything else is known.
    is_away = not (len(question.parts) or len(question.liked))
    rows, sign = (question.disliked, -1.0) if is_away else (question.liked, 1.0)
    # Together as much as one part of the query, if one says what is sought.
    has_added = any(part.weight > 0 for part in question.parts)
    weight = sign / len(rows) if has_added and len(rows) else sign
    return [*question.parts, *(EmbeddedPart(row, weight, is_picture=True) for row in rows)]
