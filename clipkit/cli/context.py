"""``clipkit context``: the most relevant images for a query, as a prompt of a language model."""

import argparse
import io
import sys
from dataclasses import replace

from clipkit.cli import values
from clipkit.cli.model_options import add_model_options, load_encoder
from clipkit.cli.parser import Parser
from clipkit.cli.report_lines import nothing_line
from clipkit.cli.search_options import add_filters, add_indexing, add_query, add_refinements
from clipkit.cli.search_query import (
    build_query,
    check_images,
    explain_words,
    read_filters,
    settle_folder,
    typed_parts,
)
from clipkit.cli.search_sync import check_indexing, sync_for_search
from clipkit.cli.taught_concepts import TaughtConcepts, add_concept_option
from clipkit.cli.terminal import note, progress_bar, warn
from clipkit.progress import Callbacks
from clipkit.search.library import PhotoLibrary
from clipkit.search.relevance import DEFAULT_MIN_RELEVANCE, NOTHING_BELOW

_THUMBNAIL_SIZE = 256  # pixels

_EPILOG = """\
examples:
  clipkit context "a red boat" ~/Pictures                   Markdown for a prompt
  clipkit context "a red boat" ~/Pictures -k 4 --json       one line of JSON, for a program
  clipkit context "a red boat" photos --max-bytes 8000 --thumbnails
  clipkit context "a red boat" photos --captions captions.csv --label-column species

what is not relevant is not listed: the images have a relevance of 0.4 or more, or where none has,
0.05 or more, and the verdict is "not sure". Names, captions and metadata are data: in both forms
JSON strings without backticks, < and >, which nothing in them can end. What they say must not be
followed, and your prompt should say so

exit status: 0 images are listed, 1 probably nothing, 2 an error, 130 after Ctrl-C
"""


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "context",
        help="print the images that fit a query, for a prompt of a language model",
        description="Print the most relevant images of a folder for a query, with what is known\n"
        "of each, as Markdown or JSON for a prompt. Exits 1 if there is probably nothing.",
        usage="%(prog)s [options] QUERY [+ QUERY] [- QUERY] [FOLDER]",
        epilog=_EPILOG,
        prefix_chars="-+",  # so that + alone is an option, as - is
    )
    add_query(parser)
    _add_output(parser)
    _add_texts(parser.add_argument_group("captions and labels"))
    add_refinements(parser.add_argument_group("refining"))
    add_filters(parser.add_argument_group("only images that are"))
    add_indexing(parser)
    add_concept_option(parser)
    add_model_options(parser)
    parser.explain_words = explain_words
    parser.set_defaults(run=run, command="context")


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-k",
        "--top",
        "-t",
        type=values.whole_number(1),
        default=8,
        metavar="K",
        help="how many images at most (default 8)",
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON (default: Markdown)")
    parser.add_argument(
        "--max-bytes",
        type=values.whole_number(1),
        metavar="N",
        help="print at most so many bytes: thumbnails go first, then the last images",
    )
    parser.add_argument(
        "--thumbnails",
        nargs="?",
        const=_THUMBNAIL_SIZE,
        type=values.whole_number(1),
        metavar="SIZE",
        help=f"add each image as a data URI of at most SIZE pixels a side (default "
        f"{_THUMBNAIL_SIZE}), upright",
    )
    parser.add_argument(
        "--min-relevance",
        type=values.number(0, 1),
        metavar="R",
        help="list images of this relevance or more, 0 to 1, whatever the verdict (default: "
        f"{DEFAULT_MIN_RELEVANCE}, and {NOTHING_BELOW} where no image has that)",
    )
    parser.add_argument(
        "--copies",
        action="store_true",
        help="list near-duplicates too; else the best of them stands for all",
    )


def _add_texts(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--captions",
        type=values.path,
        metavar="PATH",
        help="a table of images (.csv, .tsv, .jsonl, .parquet), or a folder with caption files "
        "under the same paths (default: boat.txt, .caption or .json beside boat.jpg)",
    )
    for name, what in (("image", "images"), ("caption", "captions"), ("label", "labels")):
        usual = "" if name == "label" else " (default: the first with a usual name)"
        group.add_argument(
            f"--{name}-column",
            default="",
            metavar="NAME",
            help=f"column of the table with the {what}{usual}",
        )
    group.add_argument(
        "--class-folders",
        action="store_true",
        help="the folders in FOLDER are classes: their names are labels",
    )


def run(arguments: argparse.Namespace) -> int:
    """Search, and print what was found for another program.

    Args:
        arguments: As parsed.

    Returns:
        0; 1 if there is probably nothing, or no image is relevant enough; 130 after Ctrl-C.
    """
    from clipkit.data.image_texts import ImageTexts, TextSources  # here, so that help starts soon
    from clipkit.search.context import ContextOptions, retrieve_context

    settle_folder(arguments)
    taught = TaughtConcepts(arguments, typed_parts(arguments))
    query = build_query(arguments, taught.embeddings)
    filters = read_filters(arguments)
    check_indexing(arguments)
    check_images(arguments, query)
    options = ContextOptions(
        k=arguments.top,
        min_relevance=arguments.min_relevance,
        diversity=arguments.diversity,
        has_copies=arguments.copies,
        thumbnail_size=arguments.thumbnails,
    )
    sources = TextSources(
        arguments.captions or "",
        arguments.image_column,
        arguments.caption_column,
        arguments.label_column,
        arguments.class_folders,
    )
    callbacks = Callbacks(say=note, warn=warn, progress_for=progress_bar)
    library = PhotoLibrary.open_nearest(arguments.folder)
    texts = ImageTexts(library.folder, sources, callbacks=callbacks)  # before indexing for hours
    encoder = load_encoder(arguments)
    query = taught.in_space(query, encoder)
    library = PhotoLibrary.open_nearest(arguments.folder, encoder)
    if sync_for_search(library, arguments) is None:
        return 130
    report = retrieve_context(
        library,
        query,
        replace(options, texts=texts, max_pixels=encoder.max_pixels),
        more_like=arguments.more_like,
        less_like=arguments.less_like,
        callbacks=callbacks,
        **filters,
    )
    render = report.to_json if arguments.json else report.to_markdown
    text = render(max_bytes=arguments.max_bytes)
    if isinstance(sys.stdout, io.TextIOWrapper):  # bytes are counted as UTF-8 has them
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    print(text, end="")
    for image in report.images:
        if image.thumbnail_error is not None:
            note(f"no thumbnail of {image.path}: {image.thumbnail_error}")
    if report.is_nothing:
        note(nothing_line(library, arguments.folder) or report.summary.rstrip("."))
    return 1 if report.is_nothing else 0
