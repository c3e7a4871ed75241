"""``clipkit search``: find the images of a folder that fit words or another image."""

import argparse
from functools import partial

from clipkit.cli import values
from clipkit.cli.early_hits import EarlyHits, are_early_hits_wanted
from clipkit.cli.model_options import add_model_options, load_encoder
from clipkit.cli.parser import Parser
from clipkit.cli.search_options import add_filters, add_indexing, add_query, add_refinements
from clipkit.cli.search_query import (
    build_query,
    check_images,
    explain_words,
    query_title,
    read_filters,
    settle_folder,
    typed_parts,
)
from clipkit.cli.search_results import (
    has_found_nothing,
    open_page,
    open_preview,
    print_hits,
    what_was_found,
)
from clipkit.cli.search_sync import check_indexing, sync_for_search
from clipkit.cli.store_options import add_store_option, open_for_search, settle_store
from clipkit.cli.taught_concepts import TaughtConcepts, add_concept_option
from clipkit.cli.terminal import note
from clipkit.search.filters import IndexFilter
from clipkit.search.order import SORTS
from clipkit.search.query_vectors import embed_once
from clipkit.search.relevance import DEFAULT_MIN_RELEVANCE

_EPILOG = """\
examples: a query is words or an image
  clipkit search "a cat on a sofa" photos
  clipkit search ./cat.jpg photos
  clipkit search https://example.org/cat.jpg photos

queries can be added, subtracted and weighted
  clipkit search horse + stripes
  clipkit search "2:golden retriever" + ./pool.jpg - 0.5:night
  clipkit search -- -40C                   a query that begins with a dash

what a Milvus cluster holds, sent there by  clipkit index FOLDER --store URL
  clipkit search "a cat" --store milvus://localhost:19530/photos

a taught concept is a part of its own, by its name as it was taught (clipkit help teach)
  clipkit search "Rex + beach - night" photos

relevance says how likely an image fits: at 0.7 about seven of ten do (of the small model that
comes with clipkit rather six), and from 0.4 on it counts as found. The best of all images decides
what the search says: found, not sure, or probably nothing. The similarity is a cosine, and .3 is
high for one query and low for the next.

exit status: 0 found or not sure, 1 probably nothing; with --min-relevance 0 if any image has that
much, else 1; 2 an error; 130 after Ctrl-C, also where it has printed the answer so far
"""


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "search",
        help="find images by words or by another image",
        description="Find the images of a folder that fit a query best. New, changed and deleted\n"
        "images are indexed first; a terminal shows the best so far meanwhile. Exits 1 if there\n"
        "is probably nothing.",
        usage="%(prog)s [options] QUERY [+ QUERY] [- QUERY] [FOLDER]",
        epilog=_EPILOG,
        prefix_chars="-+",  # so that + alone is an option, as - is
    )
    add_query(parser)
    _add_results(parser)
    refining = parser.add_argument_group("refining")
    add_refinements(refining)
    refining.add_argument(
        "--sort",
        choices=[*SORTS, "date"],
        default="best",
        help="the order of the results: best, newest, oldest or largest first, or by name; date "
        "means newest",
    )
    add_filters(parser.add_argument_group("only images that are"))
    _add_output(parser)
    add_indexing(parser)
    parser.add_argument(
        "--wait",
        action="store_true",
        help="answer only once the whole folder is indexed; otherwise a terminal shows the best so "
        "far meanwhile",
    )
    add_store_option(
        parser, "search what clipkit index --store has sent there, from any machine; no FOLDER then"
    )
    add_concept_option(parser)
    parser.add_argument("--strict", action="store_true", help="exit 1 if an image was skipped")
    add_model_options(parser)
    parser.explain_words = explain_words
    parser.set_defaults(run=run, command="search")


def _add_results(parser: argparse.ArgumentParser) -> None:
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
    if arguments.store is None:
        settle_folder(arguments)
    else:
        settle_store(arguments)
    taught = TaughtConcepts(arguments, typed_parts(arguments))
    query = build_query(arguments, taught.embeddings)
    filters = read_filters(arguments)
    page = open_page(arguments)
    preview = open_preview(arguments)
    if arguments.store is None:
        check_indexing(arguments)
    check_images(arguments, query)
    encoder = load_encoder(arguments)
    query = taught.in_space(query, encoder)
    library = open_for_search(arguments, encoder)
    query = embed_once(query, encoder) if query else None
    find = partial(
        library.search,
        query,
        k=arguments.top,
        min_relevance=arguments.min_relevance or 0.0,
        diversity=arguments.diversity,
        more_like=arguments.more_like,
        less_like=arguments.less_like,
        sort="newest" if arguments.sort == "date" else arguments.sort,
        **filters,
    )
    is_filtered = IndexFilter(**filters) != IndexFilter()
    early = None
    if are_early_hits_wanted(arguments):
        early = EarlyHits(find, arguments.folder, filters)
    has_skipped = sync_for_search(library, arguments, early)
    if has_skipped is None:
        if early is not None and early.shown is not None:  # somebody has seen enough
            early.print_last(len(library), arguments, preview)
        return 130
    hits = find()
    is_nothing = has_found_nothing(hits, arguments)
    has_paths_only = arguments.filepath_only or arguments.print0
    is_told = is_nothing or hits.verdict == "not sure" or not (has_paths_only or arguments.json)
    summary = ""
    if is_told or page is not None:  # it reads the index again
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
