"""``clipkit search``: words or pictures in, the closest pictures of a folder out."""

import argparse
import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from clipkit.cli.options import add_model_options, load_encoder
from clipkit.cli.progress import note, progress_bar
from clipkit.errors import LibraryBusyError
from clipkit.search.library import PhotoLibrary, SearchHit, SyncReport
from clipkit.search.query import Query, parse_query

_EPILOG = """\
a query is words or a picture:
  clipkit search "a cat on a sofa" photos
  clipkit search ./cat.jpg photos          a picture needs ./ or another path in front
  clipkit search https://example.org/cat.jpg photos

queries can be added, subtracted and weighted:
  clipkit search horse + stripes
  clipkit search "2:golden retriever" + ./pool.jpg - 0.5:night
  clipkit search -- -40C                   a query that begins with a dash
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "search",
        help="find pictures by words or by another picture",
        description="Find the pictures of a folder that are closest to a query. New, changed and\n"
        "deleted pictures are seen to first. Exits 1 if there is nothing to show.",
        usage="%(prog)s [options] QUERY [+ QUERY] [- QUERY] [FOLDER]",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        prefix_chars="-+",  # so that + alone is an option, as - is
    )
    parser.add_argument("query", metavar="QUERY", help="words, or a picture such as ./cat.jpg")
    folder = parser.add_argument(
        "folder", metavar="FOLDER", default=".", help="where to search (default: here)"
    )
    # Not nargs="?": that would take its default as soon as an option follows the query.
    folder.required = False
    parser.add_argument(
        "--add",
        "-a",
        "+",
        metavar="QUERY",
        action="append",
        default=[],
        help="add a text or picture to the query; may be repeated",
    )
    parser.add_argument(
        "--subtract",
        "--sub",
        "-s",
        "-",
        metavar="QUERY",
        action="append",
        default=[],
        help="subtract a text or picture from the query; may be repeated",
    )
    parser.add_argument(
        "--top", "-t", type=_whole_number, default=10, metavar="K", help="most results (default 10)"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--filepath-only", "-f", action="store_true", help="print paths only")
    form.add_argument(
        "--print0", "-0", action="store_true", help="paths only, each ended by a null, for xargs -0"
    )
    form.add_argument("--json", action="store_true", help="one JSON object a result and line")
    parser.add_argument(
        "--no-indexing",
        "--skip-index",
        "--skip-indexing",
        "-n",
        action="store_true",
        help="search what is indexed already, without looking for changes",
    )
    parser.add_argument("--strict", action="store_true", help="exit 1 if a picture was skipped")
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Search and print.

    Args:
        arguments: As parsed.

    Returns:
        0; 1 if there is no result, or a picture was skipped and --strict was given; 130 after
        Ctrl-C.
    """
    query = _query(arguments)
    PhotoLibrary.open(arguments.folder)  # says at once if there is no such folder
    library = PhotoLibrary.open_nearest(arguments.folder, load_encoder(arguments))
    has_skipped = False
    if not arguments.no_indexing:
        try:
            has_skipped = _sync(library, arguments.folder)
        except KeyboardInterrupt:
            note(
                f"interrupted: what is indexed so far is kept (pictures: {len(library)}); search "
                "it with --no-indexing, or run the same command again to go on"
            )
            return 130
    hits = library.search(query, k=arguments.top)
    _print_hits(hits, arguments)
    if not hits:
        note(f"no pictures found in {arguments.folder}")
    return 1 if not hits or (has_skipped and arguments.strict) else 0


def _query(arguments: argparse.Namespace) -> Query:
    words = [arguments.query]
    for sign, others in (("+", arguments.add), ("-", arguments.subtract)):
        for other in others:
            words += [sign, other]
    return parse_query(*words)


def _sync(library: PhotoLibrary, folder: str) -> bool:
    """See to new, changed and deleted pictures; return whether any was skipped."""
    try:
        with progress_bar("indexing") as progress:
            report = library.sync(progress=progress)
    except LibraryBusyError:
        if not library.is_indexed:
            raise
        note(f"another process is indexing {folder}: searching what it has indexed so far")
        return False
    if summary := _summary(report, folder):
        note(summary)
    return bool(report.skipped)


def _summary(report: SyncReport, folder: str) -> str:
    """Return what to say about a sync, nothing if it found nothing to do."""
    counts = {"new": report.added, "changed": report.changed, "deleted": report.removed}
    news = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    if not report.skipped:
        return f"indexed: {news}" if news else ""
    command = f"clipkit index {shlex.quote(folder)}"
    skipped = f"{len(report.skipped)} skipped, listed by  {command}"
    return f"indexed: {news}; {skipped}" if news else skipped


def _print_hits(hits: Sequence[SearchHit], arguments: argparse.Namespace) -> None:
    # As find does: what is printed for "." can be used as a query, and never looks like an option.
    is_here = Path(arguments.folder) == Path()
    paths = [f"./{hit.path}" if is_here else str(hit.path) for hit in hits]
    if arguments.json:
        for hit, path in zip(hits, paths, strict=True):
            result = {"path": path, "similarity": round(hit.similarity, 6)}
            print(json.dumps(result, ensure_ascii=False))
    elif arguments.filepath_only or arguments.print0:
        for path in paths:
            print(path, end="\0" if arguments.print0 else "\n")
    else:
        print("score\tfilepath")
        for hit, path in zip(hits, paths, strict=True):
            # JSON's quotes: rclip's, but a name with a quote or a line break stays one field.
            print(f"{hit.similarity:.3f}\t{json.dumps(path, ensure_ascii=False)}")


def _whole_number(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number
