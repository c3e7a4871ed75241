"""The table: the checkpoint end to end beside chance and ConSE, on every benchmark."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from recipe.baselines import Baseline, ChanceEmbedder, FeatureEmbedder, conse_baselines
from recipe.benchmarks import BenchmarkSuite, build_suite
from recipe.calibration import Calibration, calibration_at, naming_cosines
from recipe.checkpoint import CONFIG_FILE, CheckpointEmbedder
from recipe.imagenet import read_class_texts
from recipe.packages import Cache
from recipe.scoring import Embedder, Score, paired_interval, score
from recipe.search_quality import (
    SearchQuality,
    SearchSuite,
    build_search_suite,
    gain_lines,
    measure_search,
    search_lines,
)
from recipe.texts import TextStore
from recipe.trunk import Trunk

CHECKPOINT_ROW = "starter (this checkpoint, end to end)"
CHANCE_ROW = "chance"
FORMER_ROW = "former checkpoint, end to end"
_NUM_CHANCE_DRAWS = 20
_TRUNK_NAME = "tf_efficientnet_lite"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    scores: tuple[Score, ...]


@dataclass(frozen=True)
class Comparison:
    """The checkpoint against a baseline at the first rank of one benchmark, in points."""

    benchmark: str
    baseline: str
    difference: float
    low: float  # of the 95 % interval
    high: float


@dataclass(frozen=True)
class Report:
    """Everything that ``evaluate`` finds."""

    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    calibration: Calibration
    search: tuple[SearchQuality, ...]  # the last is the checkpoint


def evaluate_checkpoint(folder: Path, cache: Cache, *, former: Path | None = None) -> Report:
    """Return the tables of a checkpoint, chance and the ConSE rows of the same trunk.

    Args:
        folder: The checkpoint.
        cache: Where packages and features are.
        former: Another checkpoint that everyday searches are compared with.
    """
    suite = build_suite(cache)
    trunk = Trunk(cache, trunk_version(folder))
    images = trunk.features("benchmarks", suite.jobs)
    store = TextStore(cache)
    texts = read_class_texts(cache)
    untrained = conse_baselines(trunk, texts, store)
    baselines = [
        measure_row(
            baseline.name,
            suite,
            FeatureEmbedder(images.features, store, image_function=baseline.image_function),
            images.is_readable,
        )
        for baseline in untrained
    ]
    everyday = build_search_suite(cache)
    embedder = CheckpointEmbedder(folder, suite.jobs, images.is_readable)
    checkpoint = measure_row(CHECKPOINT_ROW, suite, embedder, images.is_readable)
    return Report(
        rows=(_chance_row(suite, images.is_readable), *baselines, checkpoint),
        comparisons=tuple(
            Comparison(second.name, baseline.name, *paired_interval(first, second))
            for baseline in baselines
            for first, second in zip(baseline.scores, checkpoint.scores, strict=True)
        ),
        calibration=calibration_at(naming_cosines(suite, embedder), embedder.scale),
        search=(
            *_untrained_searches(everyday, trunk, store, untrained),
            *(checkpoint_search(FORMER_ROW, other, everyday) for other in (former,) if other),
            checkpoint_search(CHECKPOINT_ROW, folder, everyday),
        ),
    )


def checkpoint_search(name: str, folder: Path, suite: SearchSuite) -> SearchQuality:
    """Return how a checkpoint searches everyday pictures, end to end."""
    is_readable = torch.ones(len(suite.jobs), dtype=torch.bool)
    return measure_search(name, suite, CheckpointEmbedder(folder, suite.jobs, is_readable))


def _untrained_searches(
    suite: SearchSuite, trunk: Trunk, store: TextStore, untrained: Sequence[Baseline]
) -> list[SearchQuality]:
    images = trunk.features("everyday", suite.jobs)
    return [
        measure_search(
            baseline.name,
            suite,
            FeatureEmbedder(images.features, store, image_function=baseline.image_function),
        )
        for baseline in untrained
    ]


def trunk_version(folder: Path) -> int:
    """Return which EfficientNet-Lite a checkpoint holds."""
    config = json.loads((folder / CONFIG_FILE).read_text())
    name: str = config["model_cfg"]["vision_cfg"]["timm_model_name"]
    return int(name.removeprefix(_TRUNK_NAME))


def report_as_json(report: Report) -> str:
    """Return the report as JSON, scores in percent."""
    return json.dumps(
        {
            "rows": {
                row.name: {
                    item.name: {
                        str(rank): round(value, 2)
                        for rank, value in zip(item.ranks, item.percentages, strict=True)
                    }
                    for item in row.scores
                }
                for row in report.rows
            },
            "comparisons": [vars(comparison) for comparison in report.comparisons],
            "calibration": vars(report.calibration),
            "search": {row.name: row.mean_by_kind() for row in report.search},
        },
        indent=2,
    )


def report_as_text(report: Report) -> str:
    """Return the report as a Markdown table and the intervals below it."""
    lines = table_lines(report.rows)
    lines.append("")
    lines.append("Checkpoint minus baseline at rank 1, points, 95 % interval (paired bootstrap):")
    lines.extend(
        f"  {item.benchmark}, {item.baseline}: {item.difference:+.1f} "
        f"[{item.low:+.1f}, {item.high:+.1f}]"
        for item in report.comparisons
    )
    found = report.calibration
    lines.append(
        f"Naming tux60-bg among {found.num_labels} labels, scale {found.scale:.1f}: "
        f"{found.accuracy:.1%} right, mean probability of the answer {found.confidence:.1%}, "
        f"calibration error {found.error:.1%}"
    )
    lines += ["", "Mean average precision of everyday searches, by kind (number of queries):"]
    lines += search_lines(report.search)
    for row in report.search[:-1]:
        lines += ["", f"Checkpoint minus {row.name}, points, 95 % interval (paired bootstrap):"]
        lines += gain_lines(row, report.search[-1])
    return "\n".join(lines)


def table_lines(rows: Sequence[Row]) -> list[str]:
    """Return a Markdown table, scores in percent."""
    names = [f"{item.name} @{'/'.join(map(str, item.ranks))}" for item in rows[0].scores]
    lines = ["| model | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for row in rows:
        cells = ["/".join(f"{value:.1f}" for value in item.percentages) for item in row.scores]
        lines.append(f"| {row.name} | " + " | ".join(cells) + " |")
    return lines


def measure_row(name: str, suite: BenchmarkSuite, embedder: Embedder, is_readable: Tensor) -> Row:
    """Return one embedder's scores on every benchmark of a suite."""
    return Row(name, tuple(score(item, embedder, is_readable) for item in suite.benchmarks))


def _chance_row(suite: BenchmarkSuite, is_readable: Tensor) -> Row:
    """Return the mean of twenty random embedders."""
    draws = [
        measure_row(CHANCE_ROW, suite, ChanceEmbedder(len(suite.jobs), seed), is_readable)
        for seed in range(_NUM_CHANCE_DRAWS)
    ]
    return mean_row(CHANCE_ROW, draws)


def mean_row(name: str, rows: Sequence[Row]) -> Row:
    """Return the mean of several rows, benchmark by benchmark."""
    columns = zip(*(row.scores for row in rows), strict=True)
    return Row(name, tuple(_mean_score(items) for items in columns))


def deviation_row(name: str, rows: Sequence[Row]) -> Row:
    """Return the standard deviation over several rows, benchmark by benchmark."""
    columns = zip(*(row.scores for row in rows), strict=True)
    return Row(name, tuple(_deviation_score(items) for items in columns))


def _deviation_score(items: Sequence[Score]) -> Score:
    means = torch.stack([item.units.mean(0) for item in items])
    return Score(items[0].name, items[0].ranks, means.std(0, keepdim=True))


def _mean_score(items: Sequence[Score]) -> Score:
    units = torch.stack([item.units.mean(0) for item in items])
    return Score(items[0].name, items[0].ranks, units)
