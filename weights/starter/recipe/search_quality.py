"""How well a folder of everyday pictures is searched: average precision by kind of query.

Shapes: N pictures, Q queries that at least one picture answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipkit.metrics.comparison import bootstrap_interval
from clipkit.metrics.ranking import average_precisions, first_ranks, relevant_ranks
from recipe.labelled import LabelledPhoto
from recipe.packages import Cache
from recipe.picture import on_white
from recipe.scoring import Embedder
from recipe.trunk import ImageJob
from recipe.validation import KINDS, read_validation, read_validation_queries, true_matches

RECALL_RANK = 10
ALL_KINDS = "all"
_SHORTER_SIDE = 1100  # pixels; larger JPEGs are decoded at a lower scale


@dataclass(frozen=True)
class SearchSuite:
    """The pictures, the queries and which picture answers which query."""

    jobs: tuple[ImageJob, ...]  # (N,)
    words: tuple[str, ...]  # (Q,)
    kinds: tuple[str, ...]  # (Q,)
    matches: NDArray[np.bool_]  # (Q, N)


@dataclass(frozen=True)
class SearchQuality:
    """What each query found."""

    name: str
    kinds: tuple[str, ...]  # (Q,)
    average_precision: NDArray[np.float64]  # (Q,), 0 to 1
    is_first_right: NDArray[np.bool_]  # (Q,)
    recall: NDArray[np.float64]  # (Q,): share of the right pictures among the first ten

    def of_kind(self, kind: str) -> NDArray[np.bool_]:
        """Return which queries are of a kind, shape (Q,); all of them for ``ALL_KINDS``."""
        return np.array([kind in (ALL_KINDS, other) for other in self.kinds])

    def mean_by_kind(self) -> dict[str, float]:
        """Return the mean average precision of all queries and of each kind, in that order."""
        return {
            kind: float(self.average_precision[self.of_kind(kind)].mean())
            for kind in (ALL_KINDS, *KINDS)
        }


def build_search_suite(cache: Cache) -> SearchSuite:
    """Return the validation set; what the cache lacks is fetched."""
    photos = read_validation(cache)
    queries = read_validation_queries()
    matches = true_matches(queries, photos)
    answered = matches.any(axis=1).nonzero()[0]
    return SearchSuite(
        jobs=tuple(_job(photo) for photo in photos),
        words=tuple(queries[number].words for number in answered),
        kinds=tuple(queries[number].kind for number in answered),
        matches=matches[answered],
    )


def measure_search(name: str, suite: SearchSuite, embedder: Embedder) -> SearchQuality:
    """Rank all pictures for each query by cosine."""
    images = embedder.embed_rows(range(len(suite.jobs))).numpy()
    texts = embedder.embed_texts(suite.words).numpy()
    queries, answers = suite.matches.nonzero()
    ranks = relevant_ranks(texts, images, queries, answers)
    counts = suite.matches.sum(axis=1)
    found = np.bincount(queries[ranks < RECALL_RANK], minlength=len(suite.words))
    return SearchQuality(
        name=name,
        kinds=suite.kinds,
        average_precision=average_precisions(ranks, queries, len(suite.words)),
        is_first_right=first_ranks(ranks, queries, len(suite.words)) == 0,
        recall=found / np.minimum(counts, RECALL_RANK),
    )


def search_lines(rows: Sequence[SearchQuality]) -> list[str]:
    """Return a Markdown table: mean average precision by kind, first hits, recall, in percent."""
    counts = [int(rows[0].of_kind(kind).sum()) for kind in (ALL_KINDS, *KINDS)]
    names = [f"{kind} ({n})" for kind, n in zip((ALL_KINDS, *KINDS), counts, strict=True)]
    names += ["first hit right", f"recall@{RECALL_RANK}"]
    lines = ["| model | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for row in rows:
        values = [*row.mean_by_kind().values(), row.is_first_right.mean(), row.recall.mean()]
        cells = " | ".join(f"{100 * float(value):.1f}" for value in values)
        lines.append(f"| {row.name} | {cells} |")
    return lines


def gain_lines(before: SearchQuality, after: SearchQuality) -> list[str]:
    """Return the gain of each kind in points, with the 95 % interval of a paired bootstrap."""
    gains = 100 * (after.average_precision - before.average_precision)
    lines = []
    for kind in (ALL_KINDS, *KINDS):
        mine = gains[after.of_kind(kind)]
        interval = bootstrap_interval(mine)
        lines.append(f"  {kind}: {mine.mean():+.1f} [{interval.low:+.1f}, {interval.high:+.1f}]")
    return lines


def _job(photo: LabelledPhoto) -> ImageJob:
    def load() -> Image.Image:
        source = Image.open(photo.path)
        source.draft("RGB", (_SHORTER_SIDE, _SHORTER_SIDE))
        return on_white(source)

    return ImageJob("everyday " + "/".join(photo.path.parts[-6:]), load)
