"""The noise of training: the same recipe with several seeds, measured on cached features."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from recipe.benchmarks import BenchmarkSuite, build_suite, build_validation
from recipe.build import Workshop
from recipe.evaluation import Row, deviation_row, mean_row, measure_row, table_lines
from recipe.head import Head
from recipe.search_quality import build_search_suite, measure_search, search_lines


def evaluate_seeds(workshop: Workshop, seeds: Sequence[int]) -> list[str]:
    """Return three tables as lines: the benchmarks, names of photographs, everyday searches."""
    heads = {seed: workshop.train(seed) for seed in seeds}
    return [
        *table_lines(_rows(workshop, build_suite(workshop.cache), "benchmarks", heads)),
        "",
        *table_lines(_rows(workshop, build_validation(workshop.cache), "validation", heads)),
        "",
        *_search_lines(workshop, heads),
    ]


def _search_lines(workshop: Workshop, heads: dict[int, Head]) -> list[str]:
    """Return everyday searches of all heads, and their mean and deviation by kind of query."""
    suite = build_search_suite(workshop.cache)
    images = workshop.trunk.features("everyday", suite.jobs)
    rows = [
        measure_search(f"seed {seed}", suite, workshop.embedder(head, images.features))
        for seed, head in heads.items()
    ]
    by_kind = torch.tensor([list(row.mean_by_kind().values()) for row in rows])
    means = zip(rows[0].mean_by_kind(), by_kind.mean(0), by_kind.std(0), strict=True)
    return [
        *search_lines(rows),
        "",
        *(f"{kind}: {100 * mean:.1f} ± {100 * spread:.1f}" for kind, mean, spread in means),
    ]


def _rows(
    workshop: Workshop, suite: BenchmarkSuite, name: str, heads: dict[int, Head]
) -> list[Row]:
    """Return the rows of all heads on one suite, their mean and their standard deviation."""
    images = workshop.trunk.features(name, suite.jobs)
    rows = [
        measure_row(
            f"seed {seed}", suite, workshop.embedder(head, images.features), images.is_readable
        )
        for seed, head in heads.items()
    ]
    of_seeds = f"of {len(rows)} seeds"
    mean, deviation = (
        mean_row(f"mean {of_seeds}", rows),
        deviation_row(f"deviation {of_seeds}", rows),
    )
    return [*rows, mean, deviation]
