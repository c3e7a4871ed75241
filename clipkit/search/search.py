"""One search of a library, from a query to its hits.

The query is embedded, the images that score best are the candidates, and relevance and diversity
order them and choose among them. One snapshot of the index is held from beginning to end.

Shapes: K candidates, R rows of each, D dimensions of the shared space, B background words, S
sampled images.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import check_share, check_whole
from clipkit.embeddings import Embeddings, normalize_rows
from clipkit.errors import InputError
from clipkit.inputs.crop_boxes import CropBox, crop_boxes
from clipkit.inputs.image_input import ImageInput
from clipkit.search.filters import FilterOptions, IndexFilter, Selection
from clipkit.search.location import SearchedPlace
from clipkit.search.modality_gap import center_rows
from clipkit.search.order import SORTS, Sort, check_sort, order_of
from clipkit.search.query import SearchQuery
from clipkit.search.query_vectors import QueryEmbedder, QueryVectors, needed_encoder
from clipkit.search.ranking import (
    QueryScore,
    exact_products,
    library_center,
    mixed_score,
    plain_score,
    rank,
)
from clipkit.search.relevance import (
    DEFAULT_MIN_RELEVANCE,
    RelevanceScale,
    Verdict,
    make_background,
    relevance_of,
    stored_background,
    verdict_of,
)
from clipkit.search.rerank import diversify, raw_files, weigh_scores
from clipkit.search.store.base import Ids, Snapshot
from clipkit.search.sync import check_space

if TYPE_CHECKING:
    from clipkit.encoder.encoder import Encoder

_SAMPLE = 1024  # images that stand for the library: their mean is good to 3 % of their spread
NUM_CANDIDATES = 200  # candidates for relevance and diversity, at least
_DECIMALS = 6  # of evidence
_BLOCK = 4096  # candidates looked at at a time


OTHER_OPTIONS = ("sort", "k", "min_relevance", "diversity", "more_like", "less_like")
"""What a search takes by name beside filters."""


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
    raw: Path | None = None  # the camera's RAW file beside it, which is not a separate result
    camera: str | None = None  # maker and model
    # The part of the image that fits best, in an index with crops: (left, top, right, bottom) in
    # fractions of its sides; None: the whole.
    crop: CropBox | None = None

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
            "camera": self.camera,
            "crop": None if self.crop is None else [round(side, 4) for side in self.crop],
        }


class SearchHits(list[SearchHit]):
    """The hits of a search in their order, and what the search says as a whole.

    Args:
        hits: What is shown.
        verdict: "found", "not sure" or "probably nothing": by the most relevant image that passes
            the filters, also if `min_relevance` leaves it out.
        num_found: How many images have a relevance that counts as found. Looked at are the 200
            that score best, or 4 k if that is more: if all of those are found, there may be more.
        num_searched: How many images pass the filters.
        may_be_more: Whether num_found is as many as were looked at, of more.
    """

    def __init__(
        self,
        hits: Iterable[SearchHit] = (),
        *,
        verdict: Verdict = "probably nothing",
        num_found: int = 0,
        num_searched: int = 0,
        may_be_more: bool = False,
    ) -> None:
        super().__init__(hits)
        self.verdict: Verdict = verdict
        self.num_found = num_found
        self.num_searched = num_searched
        self.may_be_more = may_be_more

    def to_dict(self) -> dict[str, object]:
        """Return the search as JSON has it, its hits under "hits"."""
        return {
            "verdict": self.verdict,
            "num_found": self.num_found,
            "num_searched": self.num_searched,
            "may_be_more": self.may_be_more,
            "hits": [hit.to_dict() for hit in self],
        }


class SearchOptions(FilterOptions, total=False):
    """What `PhotoLibrary.search` takes beside a query: filters, and the order of the results."""

    sort: Sort


@dataclass(frozen=True)
class HitOptions:
    """Which of the images that fit are returned, in which order: as in `PhotoLibrary.search`."""

    k: int = 10
    min_relevance: float = 0.0
    diversity: float = 0.0
    sort: Sort = "best"
    accepted: IndexFilter = field(default_factory=IndexFilter)

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        object.__setattr__(self, "k", check_whole(self.k, "k"))
        for name in ("min_relevance", "diversity"):
            object.__setattr__(self, name, check_share(getattr(self, name), name))
        check_sort(self.sort, SORTS)


def search_library(
    place: SearchedPlace,
    encoder: "Encoder | None",
    query: SearchQuery | None,
    options: HitOptions,
    *,
    more_like: Iterable[ImageInput] = (),
    less_like: Iterable[ImageInput] = (),
) -> SearchHits:
    """Return the images of a library that fit a query, as `PhotoLibrary.search` says.

    Args:
        place: The images and the index.
        encoder: Embeds the query; only needed for what is not indexed.
        query: The query; None if only images are marked.
        options: Which images, how many, and in which order.
        more_like: Images like what is sought.
        less_like: Images unlike what is sought.

    Returns:
        The hits.

    Raises:
        InputError: If the query cannot be searched for, or an encoder is needed and missing.
        ImageReadError: If an image of the query cannot be read.
        LibraryError: If the folder has not been indexed, or the index is damaged.
        SpaceMismatchError: If the index was rebuilt with another model meanwhile.
    """
    with place.store.snapshot() as snapshot:  # before a model is loaded for what is not indexed
        if encoder is not None:
            check_space(snapshot.meta, encoder, place)
        embedder = QueryEmbedder(snapshot, place, encoder)
        vectors = embedder.embed(query, more_like=more_like, less_like=less_like)
        background = stored_background(snapshot.background())
        if background is None:  # of an older clipkit, or not synced since
            background = make_background(needed_encoder(encoder))
        where = Selection(place.prefix, options.accepted, vectors.hidden)
        return find_hits(snapshot, vectors, where, background, options, place.path)


def find_hits(
    snapshot: Snapshot,
    query: QueryVectors,
    where: Selection,
    background: Embeddings,
    options: HitOptions,
    locate: Callable[[str], Path],
) -> SearchHits:
    """Return the images that fit a query.

    Args:
        snapshot: The library's state.
        query: The query as vectors.
        where: Which images may be hits.
        background: Everyday words that a query is weighed against, shape (B, D).
        options: How many, and in which order.
        locate: From a path in the store to the file.

    Returns:
        The best k, in the requested order.

    Raises:
        InputError: If an embedding of the query has another size than the library's, or its
            parts cancel out.
    """
    _check_size(query, snapshot.embed_dim)
    if query.is_plain:
        score = plain_score(query.parts[0])
    else:
        score = mixed_score(query, _sample(snapshot), background)
    found, scores = rank(snapshot, score, k=max(NUM_CANDIDATES, 4 * options.k), where=where)
    raws = raw_files(found.paths, where.hidden)
    pool = [place for place, path in enumerate(found.paths) if path not in raws]
    if not pool:
        return SearchHits(num_searched=found.num_searched)
    views = _with_crops(snapshot, found.ids[pool])
    rows = views[:, 0]  # of the wholes
    sample = _sample(snapshot)  # after the scan, which brings the file into memory in one go
    evidence = evidence_of_candidates(query, background, sample, views, score)
    # Equal rows may differ by rounding: they stay in the order of their paths.
    order = np.argsort(-evidence.round(_DECIMALS), kind="stable")
    # Of R rows an image the best lies as high by chance as of R times the images.
    relevance = relevance_of(evidence, found.num_searched * views.shape[1])[order]
    chosen = _choose(relevance, center_rows(rows[order], library_center(sample)), options)
    places = [pool[order[position]] for position in chosen]
    records = snapshot.records(found.ids[places])
    crops = _matched_crops(snapshot, score, views[[order[position] for position in chosen]])
    raw_of = {shown: raw for raw, shown in raws.items()}
    hits = [
        SearchHit(
            similarity=scores[place],
            relevance=float(relevance[position]),
            path=locate(record.path),
            width=record.width,
            height=record.height,
            taken_at=record.taken_at,
            raw=locate(raw_of[record.path]) if record.path in raw_of else None,
            camera=record.camera,
            crop=crop,
        )
        for position, place, record, crop in zip(chosen, places, records, crops, strict=True)
    ]
    num_found = int((relevance >= DEFAULT_MIN_RELEVANCE).sum())
    return SearchHits(
        map(hits.__getitem__, order_of(records, options.sort)),
        verdict=verdict_of(relevance),
        num_found=num_found,
        num_searched=found.num_searched,
        may_be_more=num_found == len(pool) < found.num_searched - len(raws) - len(where.hidden),
    )


def evidence_of_candidates(
    query: QueryVectors,
    background: Embeddings,
    sample: Embeddings,
    rows: Embeddings,
    score: QueryScore,
) -> NDArray[np.float64]:
    """Return how well candidates fit, in spreads of the scores of everyday words: the best order.

    Args:
        query: The query as vectors.
        background: Everyday words that it is weighed against, shape (B, D).
        sample: Images that stand for the library, shape (S, D).
        rows: The candidates' embeddings, best first, shape (K, D), or (K, R, D) with crops.
        score: What they were ranked by.

    Returns:
        Shape (K,), for `relevance_of`.
    """
    embeddings, weights, is_image = zip(*query.with_marks(), strict=True)
    scale = RelevanceScale(background, sample)
    parts = np.stack(embeddings)
    # Of thousands with crops each, double precision at once would take a gigabyte.
    blocks = [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]
    found = [scale.evidence_and_penalty(parts, weights, is_image, block) for block in blocks]
    evidence, penalty = (np.concatenate(each) for each in zip(*found, strict=True))
    num_marks = len(query.liked) + len(query.disliked)
    # What is subtracted is taken off alone: it must not change what the others are measured by.
    added = replace(score, subtracted=())
    fits = np.concatenate(
        [added.scores(exact_products(block, added.directions)) for block in blocks]
    )
    num_parts = sum(part.weight > 0 for part in query.parts)
    weighed = weigh_scores(evidence, fits, num_parts=num_parts, num_marks=num_marks)
    total: NDArray[np.float64] = weighed - penalty
    return total


def _choose(relevance: NDArray[np.float64], centered: Embeddings, options: HitOptions) -> list[int]:
    """Return which of the candidates, best first, to show, and in which order.

    Args:
        relevance: Of the K candidates, best first.
        centered: Their embeddings as seen from the images' centre, shape (K, D).
        options: How many.

    Returns:
        Positions among the candidates, at most k.
    """
    relevant = np.flatnonzero(relevance >= options.min_relevance)
    if options.diversity == 0:
        return [int(place) for place in relevant[: options.k]]
    if not len(relevant):
        return []
    order = diversify(
        relevance[relevant], centered[relevant], k=options.k, tradeoff=1 - options.diversity
    )
    return [int(place) for place in relevant[order]]


def _with_crops(snapshot: Snapshot, ids: Ids) -> Embeddings:
    """Return images and their crops, the whole first, shape (K, R, D), rows of norm 1."""
    rows = snapshot.with_crops(ids)
    return normalize_rows(rows.reshape(-1, rows.shape[2])).reshape(rows.shape)


def _matched_crops(
    snapshot: Snapshot, score: QueryScore, views: Embeddings
) -> list[CropBox | None]:
    """Return which part of each image fits a query best, None for the whole."""
    boxes = (None, *crop_boxes(snapshot.meta.crops))
    matched = score.matched_rows(exact_products(views, score.directions))
    return [boxes[number] for number in matched.tolist()]


def _check_size(query: QueryVectors, embed_dim: int) -> None:
    """Refuse embeddings of another model."""
    for part in query.parts:
        if part.embedding.shape != (embed_dim,):
            raise InputError(
                f"an embedding to search for must have shape ({embed_dim},) or (1, {embed_dim}), "
                f"got {part.embedding.shape}"
            )


def _sample(snapshot: Snapshot) -> Embeddings:
    """Return images that stand for the library, shape (S, D)."""
    return normalize_rows(snapshot.sample(_SAMPLE))
