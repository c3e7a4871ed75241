"""Scores of one embedder on the benchmarks, with one value per class or query to resample.

Shapes: N pictures, Q queries, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize

from recipe.benchmarks import Benchmark, CategorySearch, Classification, Retrieval
from recipe.phrases import PHOTO_TEMPLATES, fill

RETRIEVAL_RANKS = (1, 5, 10)
CLASSIFICATION_RANKS = (1, 5)
CATEGORY_PRECISION_RANK = 10


class Embedder(Protocol):
    """Pictures and texts in one space."""

    def embed_rows(self, rows: Sequence[int]) -> Tensor:
        """Return embeddings of the suite's pictures, shape (N, D), rows of norm 1."""

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return embeddings of texts, shape (Q, D), rows of norm 1."""


@dataclass(frozen=True)
class Score:
    """The result on one benchmark.

    ``units`` has shape (U, K): for each class or query, the share of hits at each of K ranks.
    """

    name: str
    ranks: tuple[int, ...]
    units: Tensor

    @property
    def percentages(self) -> list[float]:
        """The mean over units at each rank, 0 to 100."""
        return [100 * float(value) for value in self.units.mean(0)]


def score(benchmark: Benchmark, embedder: Embedder, is_readable: Tensor) -> Score:
    """Return the score of an embedder on one benchmark.

    Args:
        benchmark: What is asked.
        embedder: What answers.
        is_readable: False for pictures that could not be decoded, shape (number of jobs,).
    """
    if isinstance(benchmark, Retrieval):
        return _score_retrieval(benchmark, embedder, is_readable)
    if isinstance(benchmark, Classification):
        return _score_classification(benchmark, embedder)
    return _score_category_search(benchmark, embedder)


def class_embeddings(embedder: Embedder, class_names: Sequence[str]) -> Tensor:
    """Return one embedding per class, the mean over four templates, shape (C, D), norm 1."""
    prompts = [fill(template, name) for template in PHOTO_TEMPLATES for name in class_names]
    embeddings = embedder.embed_texts(prompts)
    return normalize(embeddings.view(len(PHOTO_TEMPLATES), len(class_names), -1).sum(0), dim=-1)


def _score_retrieval(benchmark: Retrieval, embedder: Embedder, is_readable: Tensor) -> Score:
    """Count a caption as found at k if any picture with that caption is among the first k."""
    kept = [i for i, row in enumerate(benchmark.rows) if is_readable[row]]
    captions = [benchmark.captions[i] for i in kept]
    images = embedder.embed_rows([benchmark.rows[i] for i in kept])
    queries = list(dict.fromkeys(captions))
    similarities = embedder.embed_texts(queries) @ images.T  # (Q, N)
    is_right = torch.tensor([[caption == query for caption in captions] for query in queries])
    best_right = similarities.masked_fill(~is_right, -2).amax(1, keepdim=True)
    num_above = (similarities.masked_fill(is_right, -2) > best_right).sum(1)
    return _from_ranks(benchmark.name, num_above, RETRIEVAL_RANKS)


def _score_classification(benchmark: Classification, embedder: Embedder) -> Score:
    images = embedder.embed_rows(benchmark.rows)
    similarities = images @ class_embeddings(embedder, benchmark.class_names).T  # (N, C)
    labels = torch.tensor(benchmark.labels)
    num_above = (similarities > similarities.gather(1, labels[:, None])).sum(1)
    hits = _from_ranks(benchmark.name, num_above, CLASSIFICATION_RANKS)
    units = [hits.units[labels == number].mean(0) for number in benchmark.scored_classes]
    return Score(benchmark.name, CLASSIFICATION_RANKS, torch.stack(units))


def _score_category_search(benchmark: CategorySearch, embedder: Embedder) -> Score:
    """Take the share of right pictures among the first ten, or fewer if there are fewer."""
    images = embedder.embed_rows(benchmark.rows)
    precisions = []
    for query, relevant in benchmark.relevant.items():
        texts = embedder.embed_texts([query, f"a photo of {query}"])
        similarities = images @ normalize(texts.sum(0), dim=-1)
        length = min(CATEGORY_PRECISION_RANK, len(relevant))
        found = similarities.topk(length).indices.tolist()
        precisions.append(sum(position in relevant for position in found) / length)
    return Score(benchmark.name, (CATEGORY_PRECISION_RANK,), torch.tensor(precisions)[:, None])


def _from_ranks(name: str, num_above: Tensor, ranks: tuple[int, ...]) -> Score:
    """Return hits at each rank from the number of wrong answers above the right one."""
    return Score(name, ranks, (num_above[:, None] < torch.tensor(ranks)).float())


def paired_interval(first: Score, second: Score, *, seed: int = 0) -> tuple[float, float, float]:
    """Return the difference second - first at the first rank and its 95 % interval, in points.

    The units (classes or queries) are drawn again with replacement 4,000 times, the same for both.

    Source:
        Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile interval).
    """
    difference = (second.units[:, 0] - first.units[:, 0]).double()
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randint(len(difference), (4000, len(difference)), generator=generator)
    means = 100 * difference[draws].mean(1)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.double)).tolist()
    return 100 * float(difference.mean()), low, high
