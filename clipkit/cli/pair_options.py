"""Options of commands that take pairs of pictures and captions."""

import argparse

from clipkit.pairs.opening import open_pairs
from clipkit.pairs.pair import PairSource

PAIR_FORMATS = ("auto", "folder", "classes", "table", "shards")


def add_pair_options(parser: argparse.ArgumentParser) -> None:
    """Add PAIRS, --format, --image-column and --caption-column."""
    parser.add_argument(
        "pairs",
        metavar="PAIRS",
        help="pictures with captions: a folder with a .txt or .json beside each picture, a folder "
        "with one folder a class, a table (.csv, .tsv, .jsonl, .parquet), or shards "
        '("data-{000..099}.tar")',
    )
    group = parser.add_argument_group("pairs")
    group.add_argument(
        "--format",
        choices=PAIR_FORMATS,
        default="auto",
        help="what PAIRS is (default: as it looks)",
    )
    group.add_argument(
        "--image-column",
        default="filepath",
        metavar="NAME",
        help="column of a table with the pictures' paths (default: filepath)",
    )
    group.add_argument(
        "--caption-column",
        default="title",
        metavar="NAME",
        help="column of a table with the captions (default: title)",
    )


def open_source(arguments: argparse.Namespace) -> PairSource:
    """Return the pairs that the options of add_pair_options ask for."""
    return open_pairs(
        arguments.pairs,
        format=arguments.format,
        image_column=arguments.image_column,
        caption_column=arguments.caption_column,
    )
