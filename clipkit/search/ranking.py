"""Ranking a library's images by a query.

The order does not depend on the library's history: a library that grew, shrank and was compacted
ranks as one built from scratch. Equal similarities are in the order of the paths.

Shapes: N rows of the vectors file, K of them, D dimensions.

Shapes: D dimensions of the shared space, B background words, S sampled images.

Shapes: D dimensions of the shared space, K candidates, B background words, S sampled images.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import check_share, check_whole
from clipkit.embeddings import Embeddings, mix_embeddings, normalize_rows, top_k
from clipkit.errors import InputError
from clipkit.search.filters import FilterOptions, IndexFilter
from clipkit.search.modality_gap import (
    Direction,
    center_rows,
    centered_similarities,
    check_remains,
    estimate_center,
    estimate_spread,
    mix_parts,
    subtraction_loss,
)
from clipkit.search.query_vectors import EmbeddedPart, Question
from clipkit.search.relevance import NullDistribution
from clipkit.search.rerank import diversify, raw_files, refit_direction
from clipkit.search.store.local.catalog import Catalog
from clipkit.search.store.local.snapshot import Snapshot
from clipkit.search.store.local.vectors import SCAN_ERROR, VectorReader
from clipkit.search.store.records import ImageRow


class Subtracted(NamedTuple):
    """What images should not show."""

    direction: NDArray[np.float32]  # shape (D,), norm 1
    spread: float = 1.0  # of its cosines to unrelated images
    strength: float = 1.0  # times the usual loss


class Target(NamedTuple):
    """What images should be close to."""

    direction: NDArray[np.float32]  # shape (D,), norm 1
    # Where angles are measured from, shape (D,): the mean of the images for a query in which
    # modalities were mixed; None for the plain cosine.
    center: NDArray[np.float32] | None = None
    spread: float = 1.0  # of its cosines to unrelated images
    subtracted: tuple[Subtracted, ...] = ()


class Candidates(NamedTuple):
    """Which images may be results."""

    prefix: str = ""  # only paths under it: "" or "folder/"
    accepted: IndexFilter = IndexFilter()
    hidden: Collection[str] = ()  # paths to leave out


_ALL = Candidates()


class Ranked(NamedTuple):
    """One of the best images."""

    row: int
    similarity: float  # cosine to the target, less what was lost for what is subtracted; -1..1
    path: str


def rank(
    catalog: Catalog,
    vectors: VectorReader,
    target: Target,
    *,
    k: int,
    candidates: Candidates = _ALL,
) -> list[Ranked]:
    """Return the k images closest to a target.

    Filters come before the ranking: k images come back whenever k pass them.

    Args:
        catalog: Inside the snapshot that named the vectors file.
        vectors: That file.
        target: What to look for.
        k: How many, k >= 1.
        candidates: Which images to rank.

    Returns:
        At most k, best first.
    """
    lowest, highest = _scan(vectors, target)
    pool = np.arange(len(lowest))  # dead rows included, which is cheaper than to ask for the others
    if candidates.prefix or candidates.accepted != IndexFilter():
        pool = catalog.rows(candidates.prefix, candidates.accepted)
        lowest, highest = lowest[pool], highest[pool]
    threshold = _threshold(catalog, lowest, pool, k, candidates.hidden)
    rows = pool[highest >= threshold]
    paths = catalog.paths(rows)
    exact = _exact(vectors, rows, target)
    found = [
        Ranked(row, float(similarity), paths[row])
        for row, similarity in zip(rows.tolist(), exact, strict=True)
        if row in paths and paths[row] not in candidates.hidden
    ]
    return sorted(found, key=lambda hit: (-hit.similarity, hit.path))[:k]


class Bounds(NamedTuple):
    """Between what the score of every row lies, shape (N,) each."""

    lowest: NDArray[np.floating]
    highest: NDArray[np.floating]


def _scan(vectors: VectorReader, target: Target) -> Bounds:
    """Return about how close every row is to the target."""
    directions = np.stack([target.direction, *(part.direction for part in target.subtracted)])
    errors: NDArray[np.floating] | np.float32
    if target.center is None:
        cosines = vectors.similarities(directions)
        errors = np.float32(SCAN_ERROR)
    else:
        *products, centers = vectors.similarities(np.stack([*directions, target.center]))
        cosines = _centered(products, centers, directions, target.center)
        # The nearer a row is to the center, the more a small error of a product turns its angle.
        squared = np.maximum(1 - 2 * centers + target.center @ target.center, 1e-6)
        errors = SCAN_ERROR * (1 / np.sqrt(squared) + np.abs(cosines) / squared)
        errors = np.where(squared < 10 * SCAN_ERROR, 2.0, errors)  # it may be anywhere
    lowest, highest = cosines - errors, cosines + errors
    # The more an image shows what is subtracted, the lower its score.
    return Bounds(_score(lowest[0], highest[1:], target), _score(highest[0], lowest[1:], target))


def _exact(vectors: VectorReader, rows: NDArray[np.int64], target: Target) -> NDArray[np.floating]:
    """Return how close chosen rows are to the target, the same wherever a row lies."""
    directions = [target.direction, *(part.direction for part in target.subtracted)]
    cosines: NDArray[np.floating] = np.stack(
        [vectors.exact_similarities(rows, one) for one in directions]
    )
    if target.center is not None:
        centers = vectors.exact_similarities(rows, target.center)
        cosines = _centered(cosines, centers, directions, target.center)
    return _score(cosines[0], cosines[1:], target)


def _centered(
    products: Iterable[NDArray[np.floating]],
    centers: NDArray[np.floating],
    directions: Iterable[NDArray[np.float32]],
    center: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return the cosine of each row, seen from the centre, to each direction: shape (M, K)."""
    return np.stack(
        [
            centered_similarities(np.stack([product, centers], axis=1), direction, center)
            for product, direction in zip(products, directions, strict=True)
        ]
    )


def _score(
    cosines: NDArray[np.floating], subtracted: NDArray[np.floating], target: Target
) -> NDArray[np.floating]:
    """Return cosines to the target, less what is lost for each subtracted part."""
    scores = cosines
    for part, likeness in zip(target.subtracted, subtracted, strict=True):
        loss = subtraction_loss(likeness / part.spread)
        scores = scores - target.spread * part.strength * loss
    return np.maximum(scores, -1.0) if target.subtracted else scores


def _threshold(
    catalog: Catalog,
    lowest: NDArray[np.floating],
    pool: NDArray[np.int64],
    k: int,
    hidden: Collection[str],
) -> float:
    """Return a cosine that k images reach, or minus infinity if there are not that many."""
    wanted = k + len(hidden)
    while wanted < len(lowest):
        best = top_k(lowest, wanted)
        paths = catalog.paths(pool[best])  # dead rows have none
        if sum(path not in hidden for path in paths.values()) >= k:
            return float(lowest[best[-1]])
        wanted *= 4
    return -np.inf


_COMPARED = 256  # images that tell how alike unrelated ones are


def plain_target(part: EmbeddedPart) -> Target:
    """Return what images should be close to, if that is one text or image."""
    return Target(mix_embeddings(part.embedding[None, :], [part.weight])[0])


def mixed_target(question: Question, sample: Embeddings, background: Embeddings) -> Target:
    """Return what images should be close to, if several things are mixed or images marked.

    Each kind is seen from its own centre.

    Args:
        question: What is sought.
        sample: Images that stand for the library, shape (S, D).
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
        query = refit_direction(question.liked, question.disliked, kinds.image_center, query)
    assert query is not None
    if not subtracted:
        return Target(query, kinds.image_center)
    strongest = max((part.weight for part in added), default=1.0)
    away = []
    for part in subtracted:
        direction = kinds.direction(part)
        check_remains(query, direction)
        away.append(Subtracted(direction, kinds.spread(part), -part.weight / strongest))
    return Target(query, kinds.image_center, kinds.mean_spread(added), tuple(away))


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
    """What texts have in common, and what images have.

    Args:
        sample: Images that stand for the library, shape (S, D).
        background: Everyday words, shape (B, D).
    """

    def __init__(self, sample: Embeddings, background: Embeddings) -> None:
        self._sample, self._background = sample, background
        self.image_center, self._text_center = library_center(sample), library_center(background)

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
        """Return the spread of the cosines of unrelated things of the same kind to images."""
        images = center_rows(self._sample[:_COMPARED], self.image_center)
        if part.is_image:
            return estimate_spread(images, images)
        return estimate_spread(center_rows(self._background, self._text_center), images)

    def mean_spread(self, parts: Sequence[EmbeddedPart]) -> float:
        """Return the spread of parts mixed; of images that were marked, if there are none."""
        if not parts:
            return self.spread(EmbeddedPart(self.image_center, is_image=True))
        weights = [abs(part.weight) for part in parts]
        return float(np.average([self.spread(part) for part in parts], weights=weights))

    def _center(self, part: EmbeddedPart) -> NDArray[np.float32]:
        return self.image_center if part.is_image else self._text_center


def library_center(embeddings: Embeddings) -> NDArray[np.float32]:
    """Return the centre of a kind of embeddings; of none, the origin."""
    if not len(embeddings):
        return np.zeros(embeddings.shape[1], dtype=np.float32)
    return estimate_center(embeddings.mean(axis=0), len(embeddings))


Sort = Literal["best", "newest", "oldest"]
"""In which order the best k are shown: by what fits, or by when they were taken."""
SORTS: tuple[Sort, ...] = get_args(Sort)

_SAMPLE = 1024  # images that stand for the library: their mean is good to 3 % of their spread
_POOL = 200  # candidates that relevance and variety choose from, at least


@dataclass(frozen=True)
class SearchHit:
    """One image a search found."""

    similarity: float  # cosine to the query, -1..1; higher is closer
    relevance: float  # how likely it fits the query, 0..1, comparable between queries
    path: Path  # the library's folder, as it was given, joined with the path inside it
    width: int | None = None  # pixels, upright; None where the file does not say
    height: int | None = None
    # Local time, as in 2024-06-01T12:30:00, or the day alone: by EXIF, XMP or the name of the file.
    taken_at: str | None = None
    raw: Path | None = None  # the camera's RAW file beside it, which is no result of its own

    def to_dict(self) -> dict[str, object]:
        """Return the hit as what JSON takes: a line of ``clipkit search --json``."""
        return {
            "path": str(self.path),
            "similarity": round(self.similarity, 6),
            "relevance": round(self.relevance, 4),
            "width": self.width,
            "height": self.height,
            "taken_at": self.taken_at,
            "raw": None if self.raw is None else str(self.raw),
        }


@dataclass(frozen=True)
class Answer:
    """One image that answers a question."""

    image: ImageRow
    similarity: float  # cosine to the query
    relevance: float  # 0..1
    raw: str | None = None  # path of the RAW file that the image stands for

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
        """Return the images that answer a question.

        Args:
            snapshot: The library's state.
            question: What is sought.
            candidates: Which images may be answers.
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
        embeddings, weights, is_image = zip(*_parts(question), strict=True)
        relevance = null.relevance(np.stack(embeddings), weights, is_image, rows)
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
            spread: Their embeddings as seen from the images' centre, shape (K, D).

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
    """Return images that stand for the library, shape (S, D)."""
    return normalize_rows(snapshot.vectors.take(snapshot.catalog.sample(_SAMPLE)))


def _parts(question: Question) -> list[EmbeddedPart]:
    """Return the parts of a question, images that were marked among them."""
    # What is sought is not the opposite of what is wrong, if anything else is known.
    is_away = not (len(question.parts) or len(question.liked))
    rows, sign = (question.disliked, -1.0) if is_away else (question.liked, 1.0)
    # Together as much as one part of the query, if one says what is sought.
    has_added = any(part.weight > 0 for part in question.parts)
    weight = sign / len(rows) if has_added and len(rows) else sign
    return [*question.parts, *(EmbeddedPart(row, weight, is_image=True) for row in rows)]
