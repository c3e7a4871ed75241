"""``clipkit search``: find the images of a folder that fit words or another image."""

import argparse

from clipkit.cli import values
from clipkit.cli.options import (
    add_model_options,
    add_scan_options,
    load_encoder,
    missing_line,
    sync_if_possible,
)
from clipkit.cli.parser import Parser, quoted
from clipkit.cli.search_query import (
    build_query,
    check_images,
    check_indexing,
    explain_words,
    query_title,
    read_filters,
    settle_folder,
    typed_parts,
)
from clipkit.cli.search_results import open_page, open_preview, print_hits, what_was_found
from clipkit.cli.taught_concepts import TaughtConcepts, add_concept_option
from clipkit.cli.terminal import note
from clipkit.search.filters import IndexFilter
from clipkit.search.library import PhotoLibrary, SyncReport
from clipkit.search.relevance import DEFAULT_MIN_RELEVANCE
from clipkit.search.search import SORTS

_EPILOG = """\
examples: a query is words or an image
  clipkit search "a cat on a sofa" photos
  clipkit search ./cat.jpg photos
  clipkit search https://example.org/cat.jpg photos

queries can be added, subtracted and weighted
  clipkit search horse + stripes
  clipkit search "2:golden retriever" + ./pool.jpg - 0.5:night
  clipkit search -- -40C                   a query that begins with a dash

taught concepts are named like words, also in one text (clipkit help teach)
  clipkit search "Rex + beach - night" photos

relevance says how likely an image fits: at 0.7 about seven of ten do (of the small model that
comes with clipkit rather six), and from 0.4 on it counts as found. The best of all images decides
what the search says: found, not sure, or probably nothing. The similarity is a cosine, and .3 is
high for one query and low for the next.

exit status: 0 found or not sure, 1 probably nothing; with --min-relevance 0 if any image has that
much, else 1; 2 an error, 130 after Ctrl-C
"""


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "search",
        help="find images by words or by another image",
        description="Find the images of a folder that fit a query best. New, changed and deleted\n"
        "images are indexed first. Exits 1 if there is probably nothing.",
        usage="%(prog)s [options] QUERY [+ QUERY] [- QUERY] [FOLDER]",
        epilog=_EPILOG,
        prefix_chars="-+",  # so that + alone is an option, as - is
    )
    _add_query(parser)
    _add_refinements(parser.add_argument_group("refining"))
    _add_filters(parser.add_argument_group("only images that are"))
    _add_output(parser)
    parser.add_argument(
        "--no-indexing",
        "--skip-index",
        "--skip-indexing",
        "-n",
        action="store_true",
        help="search the index as it is, without looking for changes in the folder",
    )
    add_concept_option(parser)
    add_scan_options(parser)
    parser.add_argument(  # rclip's: RAW files are read wherever the extra for them is installed
        "--experimental-raw-support", action="store_true", help=argparse.SUPPRESS
    )
    parser.add_argument("--strict", action="store_true", help="exit 1 if an image was skipped")
    add_model_options(parser)
    parser.explain_words = explain_words
    parser.set_defaults(run=run)


def _add_query(parser: argparse.ArgumentParser) -> None:
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
    parser.add_argument(
        "--top",
        "-t",
        type=values.whole_number(1),
        default=10,
        metavar="K",
        help="how many results at most (default 10)",
    )
    parser.add_argument(
        "--min-relevance",
        type=values.number(0, 1),
        metavar="R",
        help="leave out less relevant results, 0 to 1; what counts as found has "
        f"{DEFAULT_MIN_RELEVANCE} or more; without it the most relevant are shown, whatever they "
        "have",
    )


def _add_refinements(group: "argparse._ArgumentGroup") -> None:
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
    group.add_argument(
        "--sort",
        choices=[*SORTS, "date"],
        default="best",
        help="the order of the results: best first, or newest or oldest first; date means newest",
    )


def _add_filters(group: "argparse._ArgumentGroup") -> None:
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


def _add_output(parser: argparse.ArgumentParser) -> None:
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--filepath-only", "-f", action="store_true", help="print paths only")
    form.add_argument(
        "--print0", "-0", action="store_true", help="paths only, each ended by a null, for xargs -0"
    )
    form.add_argument("--json", action="store_true", help="one JSON object per result and line")
    form.add_argument(  # this and the next as rclip has them
        "--preview", "-p", action="store_true", help="show the images in the terminal"
    )
    parser.add_argument(
        "--preview-height",
        "-H",
        type=values.whole_number(1),
        default=400,
        metavar="PIXELS",
        help="how high a preview may be (default 400)",
    )
    parser.add_argument(
        "--html",
        type=values.path,
        metavar="FILE",
        help="write the results as a page of images, in one file; it replaces an older such page",
    )
    parser.add_argument(
        "--force", action="store_true", help="let --html replace a file of any other kind"
    )


def run(arguments: argparse.Namespace) -> int:
    """Search and print.

    Args:
        arguments: As parsed.

    Returns:
        0; 1 if there is probably nothing or nothing is left to show, or an image was skipped and
        --strict was given; 130 after Ctrl-C.
    """
    settle_folder(arguments)
    taught = TaughtConcepts(arguments, typed_parts(arguments))
    query = build_query(arguments, taught.embeddings)
    filters = read_filters(arguments)
    page = open_page(arguments)
    preview = open_preview(arguments)
    check_indexing(arguments)
    check_images(arguments, query)
    encoder = load_encoder(arguments)
    query = taught.in_space(query, encoder)
    library = PhotoLibrary.open_nearest(arguments.folder, encoder)
    has_skipped = False
    if not arguments.no_indexing:
        try:
            has_skipped = _sync(library, arguments)
        except KeyboardInterrupt:
            note(
                f"interrupted: what is indexed so far is kept (images: {len(library)}); search "
                "it with --no-indexing, or run the same command again to resume"
            )
            return 130
    hits = library.search(
        query,
        k=arguments.top,
        min_relevance=arguments.min_relevance or 0.0,
        diversity=arguments.diversity,
        more_like=arguments.more_like,
        less_like=arguments.less_like,
        sort="newest" if arguments.sort == "date" else arguments.sort,
        **filters,
    )
    # Somebody who sets a bound has decided what is worth showing.
    has_bound = arguments.min_relevance is not None
    is_nothing = not hits or (hits.verdict == "probably nothing" and not has_bound)
    has_paths_only = arguments.filepath_only or arguments.print0
    is_told = is_nothing or hits.verdict == "not sure" or not (has_paths_only or arguments.json)
    summary = ""
    if is_told or page is not None:  # it reads the index again
        is_filtered = IndexFilter(**filters) != IndexFilter()
        summary = what_was_found(library, arguments, hits, is_filtered=is_filtered)
    if page is not None:
        from clipkit.cli.contact_sheet import write_contact_sheet

        write_contact_sheet(
            page, query_title(arguments), hits, summary=summary, max_pixels=encoder.max_pixels
        )
    if is_told:
        note(summary)
    if not (is_nothing and has_paths_only):
        print_hits(hits, arguments, preview)
    return 1 if is_nothing or (has_skipped and arguments.strict) else 0


def _sync(library: PhotoLibrary, arguments: argparse.Namespace) -> bool:
    """Bring the index up to date; return whether an image was skipped."""
    report = sync_if_possible(
        library,
        arguments.folder,
        exclude=arguments.exclude,
        include_hidden=arguments.include_hidden,
    )
    if report is None:
        return False
    if summary := _summary(report, arguments.folder):
        note(summary)
    if report.missing > report.missing_before:
        note(missing_line(library, report))
    return bool(report.skipped)


def _summary(report: SyncReport, folder: str) -> str:
    """Return a message about a sync, "" if it found nothing to do."""
    counts = {
        "new": report.added,
        "changed": report.changed,
        "moved": report.moved,
        "deleted": report.removed,
    }
    news = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    if not report.newly_skipped:  # the others were reported before
        return f"indexed: {news}" if news else ""
    command = f"clipkit index {quoted(folder)}"
    skipped = f"{len(report.newly_skipped)} skipped, listed by  {command}"
    return f"indexed: {news}; {skipped}" if news else skipped
