"""Options of what is measured, for the commands that evaluate models."""

import argparse
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from clipkit.cli import values
from clipkit.cli.pair_options import pair_layout
from clipkit.cli.terminal import progress_bar
from clipkit.progress import Progress

if TYPE_CHECKING:
    from clipkit.evaluation.options import EvaluationOptions


def add_evaluation_options(parser: argparse.ArgumentParser) -> None:
    """Add --task and what belongs to the tasks: templates, columns, splits, shots, queries."""
    group = parser.add_argument_group("what to measure")
    group.add_argument(
        "--task",
        choices=("auto", "classification", "retrieval", "probe", "search"),
        default="auto",
        help="auto: classification of images with classes, retrieval of images with captions, "
        "search with --queries, a probe with --train",
    )
    group.add_argument(
        "--templates",
        action="append",
        default=[],
        metavar="SET",
        help='a set of prompt templates ("openai80" is ImageNet\'s), or one with a {}; give it '
        "again to compare several: the metrics are those of the first",
    )
    group.add_argument(
        "--label-column", default="", metavar="NAME", help="column of a table with the class"
    )
    group.add_argument(
        "--split",
        default="test",
        metavar="NAME",
        help="split of a dataset that is divided: in CLIP_benchmark's layout, or a folder with "
        "train/ and test/ (default: test)",
    )
    group.add_argument(
        "--train", default="", metavar="PAIRS", help="fit a linear probe on these and measure it"
    )
    group.add_argument(
        "--shots",
        type=values.whole_number(1),
        metavar="K",
        help="images a class that the probe is fitted on (default: all)",
    )
    group.add_argument(
        "--queries",
        default="",
        metavar="FILE",
        help='queries and the paths that answer them: JSON {"query": ["path", …]}, or CSV with '
        "the columns query,filepath",
    )
    group.add_argument(
        "--seed", type=values.whole_number(0), default=0, metavar="N", help="of the shots drawn"
    )


def evaluation_options(arguments: argparse.Namespace) -> "EvaluationOptions":
    """Return what the options of add_evaluation_options and of PAIRS give."""
    # Imported here, so that the help of all commands starts without it.
    from clipkit.evaluation.options import EvaluationOptions

    return EvaluationOptions(
        task=arguments.task,
        templates=tuple(arguments.templates),
        layout=pair_layout(arguments, split="test"),
        label_column=arguments.label_column,
        split=arguments.split,
        train=arguments.train,
        shots=arguments.shots,
        queries=arguments.queries,
        seed=arguments.seed,
    )


def evaluation_bar(label: str) -> AbstractContextManager[Progress]:
    """Return a progress bar for a stage of an evaluation."""
    return progress_bar(label, unit="query" if label == "searching" else "image")
