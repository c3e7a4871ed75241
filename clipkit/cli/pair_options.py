"""Options for the path and the layout of a dataset of image-text pairs."""

import argparse
from typing import get_args

from clipkit.cli import values
from clipkit.cli.terminal import note, warn
from clipkit.data.pair import Format, PairDataset, PairLayout, Split
from clipkit.data.sources import open_pairs
from clipkit.progress import Callbacks

_PAIRS_HELP = (
    "images with captions: a folder with a .txt, .caption or .json beside each image, or "
    "with images/ and captions/, or with metadata.csv; a folder with one folder a class; a "
    'table (.csv, .tsv, .jsonl, .parquet); or shards ("data-{000..099}.tar"). Of a folder with '
    "train/, val/ and test/, SPLIT/ is read"
)


def add_pair_options(parser: argparse.ArgumentParser, *, split: Split = "train") -> None:
    """Add PAIRS and the options of its layout."""
    text = _PAIRS_HELP.replace("SPLIT", split)
    parser.add_argument("pairs", type=values.path, metavar="PAIRS", help=text)
    add_layout_options(parser)


def add_data_options(parser: argparse.ArgumentParser, *, split: Split) -> None:
    """Add --data PAIRS, for a command whose arguments are something else, and its layout."""
    text = _PAIRS_HELP.replace("SPLIT", split)
    parser.add_argument(
        "--data", dest="pairs", required=True, type=values.path, metavar="PAIRS", help=text
    )
    add_layout_options(parser)


def add_layout_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the layout of PAIRS."""
    group = parser.add_argument_group("pairs")
    group.add_argument(
        "--format",
        choices=get_args(Format),
        default="auto",
        help="what PAIRS is (default: detected)",
    )
    group.add_argument(
        "--image-column",
        default="",
        metavar="NAME",
        help="column of a table with the images (default: filepath, file_name, image or similar)",
    )
    group.add_argument(
        "--caption-column",
        default="",
        metavar="NAME",
        help="column of a table with the captions (default: title, caption, text or similar)",
    )
    group.add_argument(
        "--caption-ending",
        default="",
        metavar="ENDING",
        help="ending of caption files and of caption members in shards, as in  en.txt  (default: "
        "txt, caption or json; in shards, after those, cls)",
    )
    group.add_argument(
        "--class-names",
        default="",
        metavar="FILE",
        help="names of class folders or of the numbers in .cls: JSON {folder: name}, lines of "
        "folder,name, or one name a line in sorted order (default: the folders' names)",
    )


def pair_layout(arguments: argparse.Namespace, *, split: Split = "train") -> PairLayout:
    """Return the layout that the options of add_pair_options give."""
    return PairLayout(
        format=arguments.format,
        image_column=arguments.image_column,
        caption_column=arguments.caption_column,
        caption_ending=arguments.caption_ending,
        class_names=arguments.class_names,
        split=split,
    )


def open_source(arguments: argparse.Namespace) -> PairDataset:
    """Return the pairs that the options of add_pair_options select."""
    callbacks = Callbacks(say=note, warn=warn)
    return open_pairs(arguments.pairs, pair_layout(arguments), callbacks=callbacks)
