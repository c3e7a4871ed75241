"""Options that ``clipkit search`` and other commands that search share."""

import argparse

from clipkit.cli import values
from clipkit.cli.indexing import add_scan_options


def add_query(parser: argparse.ArgumentParser) -> None:
    """Add QUERY, FOLDER and what is added to the query or subtracted from it.

    The parser takes + and - for the starts of options, so that both can stand alone.
    """
    query = parser.add_argument(
        "query", metavar="QUERY", default=None, help="words, or an image such as ./cat.jpg"
    )
    folder = parser.add_argument(
        "folder",
        type=values.path,
        metavar="FOLDER",
        default=None,
        help="where to search (default: here)",
    )
    # Not nargs="?": that would take its default as soon as an option follows the query.
    query.required = folder.required = False
    parser.add_argument(
        "--add",
        "-a",
        "+",
        metavar="QUERY",
        action="append",
        default=[],
        help="add a text or image to the query; may be repeated",
    )
    parser.add_argument(
        "--subtract",
        "--sub",
        "-s",
        "-",
        metavar="QUERY",
        action="append",
        default=[],
        help="subtract a text or image from the query; may be repeated",
    )


def add_refinements(group: "argparse._ArgumentGroup") -> None:
    """Add images that refine a query, and how much results differ."""
    group.add_argument(
        "--like",
        metavar="PATH",
        action="append",
        default=[],
        help="add an image to the query, or search by it alone; may be repeated",
    )
    group.add_argument(
        "--more-like",
        metavar="PATH",
        action="append",
        default=[],
        help="an image that is right: the query moves towards it (relevance feedback); may be "
        "repeated",
    )
    group.add_argument(
        "--less-like",
        metavar="PATH",
        action="append",
        default=[],
        help="an image that is wrong: the query moves away from it; may be repeated",
    )
    group.add_argument(
        "--diverse",
        dest="diversity",
        action="store_const",
        const=0.3,
        default=0.0,
        help="results that differ from each other, as --diversity 0.3",
    )
    group.add_argument(
        "--diversity",
        type=values.number(0, 1),
        default=0.0,
        metavar="D",
        help="how much results should differ, 0 to 1 (default 0)",
    )


def add_filters(group: "argparse._ArgumentGroup") -> None:
    """Add the filters that `read_filters` reads."""
    group.add_argument(
        "--path",
        metavar="GLOB",
        help="of this name, or with a / of this path inside FOLDER; *, ? and ** work",
    )
    group.add_argument(
        "--not-path",
        metavar="GLOB",
        action="append",
        help="not of this name or path; may be repeated",
    )
    group.add_argument(
        "--after",
        metavar="DATE",
        help="taken on a day or later: 2024, 2024-06 or 2024-06-01, by EXIF or XMP data, else the "
        "name of the file, else its time",
    )
    group.add_argument("--before", metavar="DATE", help="taken earlier than that")
    group.add_argument(
        "--min-size",
        type=values.size,
        default=(0, 0),
        metavar="WxH",
        help="at least so many pixels wide and high, as in 1920x1080; 1000 means both",
    )
    shape = group.add_mutually_exclusive_group()
    for orientation in ("portrait", "landscape"):
        shape.add_argument(
            f"--{orientation}",
            dest="orientation",
            action="store_const",
            const=orientation,
            help={"portrait": "higher than wide", "landscape": "wider than high"}[orientation],
        )
    group.add_argument(
        "--camera", metavar="NAME", help="taken with a camera whose name contains this"
    )
    group.add_argument(
        "--not-camera",
        metavar="NAME",
        action="append",
        help="not taken with such a camera; may be repeated",
    )


def add_indexing(parser: argparse.ArgumentParser) -> None:
    """Add --no-indexing, and what is indexed before the search."""
    parser.add_argument(
        "--no-indexing",
        "--skip-index",
        "--skip-indexing",
        "-n",
        action="store_true",
        help="search the index as it is, without looking for changes in the folder",
    )
    add_scan_options(parser)
    parser.add_argument(  # rclip's: RAW files are read wherever the extra for them is installed
        "--experimental-raw-support", action="store_true", help=argparse.SUPPRESS
    )
