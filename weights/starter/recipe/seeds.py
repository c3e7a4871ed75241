"""The noise of training: the same recipe with several seeds, measured on cached features."""

from __future__ import annotations

from collections.abc import Sequence

from recipe.benchmarks import BenchmarkSuite, build_suite, build_validation
from recipe.build import Workshop
from recipe.evaluation import Row, deviation_row, mean_row, measure_row
from recipe.head import Head
from recipe.settings import Settings


def evaluate_seeds(
    workshop: Workshop, settings: Settings, seeds: Sequence[int]
) -> tuple[list[Row], list[Row]]:
    """Return rows of the seeds: on the benchmarks, and on the validation set."""
    heads = {seed: workshop.train(settings, seed) for seed in seeds}
    return (
        _rows(workshop, build_suite(workshop.cache), "benchmarks", heads),
        _rows(workshop, build_validation(workshop.cache), "validation", heads),
    )


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
