"""``clipkit search``: words or images in, the closest images of a folder out."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clipkit.cli import values
from clipkit.cli.options import (
    add_model_options,
    add_scan_options,
    check_is_indexed,
    load_encoder,
    missing_line,
    nothing_line,
    sync_if_possible,
)
from clipkit.cli.parser import Parser, quoted
from clipkit.cli.terminal import note, path_start, table_lines, to_json
from clipkit.errors import InputError
from clipkit.paths import expand_home
from clipkit.search.filters import FilterOptions, IndexFilter
from clipkit.search.library import PhotoLibrary, SearchHit, SyncReport
from clipkit.search.query import Query, image_argument, parse_query
from clipkit.search.relevance import DEFAULT_MIN_RELEVANCE
from clipkit.search.search import SORTS

if TYPE_CHECKING:
    from clipkit.cli.outputs import OutputFile
    from clipkit.cli.preview import Preview

_EPILOG = """\
examples: a query is words or an image
  clipkit search "a cat on a sofa" photos
  clipkit search ./cat.jpg photos
  clipkit search https://example.org/cat.jpg photos

queries can be added, subtracted and weighted
  clipkit search horse + stripes
  clipkit search "2:golden retriever" + ./pool.jpg - 0.5:night
  clipkit search -- -40C                   a query that begins with a dash

a score of .3 means one thing for one query and another for the next; relevance means the same for
all: from 0.5 on, an image more likely fits the query than not

exit status: 0 something relevant was found, 1 nothing, 2 it cannot be done, 130 after Ctrl-C
"""


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "search",
        help="find images by words or by another image",
        description="Find the images of a folder that are closest to a query. New, changed and\n"
        "deleted images are seen to first. Exits 1 if nothing is relevant.",
        usage="%(prog)s [options] QUERY [+ QUERY] [- QUERY] [FOLDER]",
        epilog=_EPILOG,
        prefix_chars="-+",  # so that + alone is an option, as - is
    )
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
        help="most results (default 10)",
    )
    parser.add_argument(
        "--min-relevance",
        type=values.number(0, 1),
        metavar="R",
        help=f"leave out what is less relevant, 0 to 1; {DEFAULT_MIN_RELEVANCE} is a good cut, and "
        "without one the closest are shown, with a note if nothing reaches that",
    )
    _add_more_options(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--filepath-only", "-f", action="store_true", help="print paths only")
    form.add_argument(
        "--print0", "-0", action="store_true", help="paths only, each ended by a null, for xargs -0"
    )
    form.add_argument("--json", action="store_true", help="one JSON object a result and line")
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
    parser.add_argument(
        "--no-indexing",
        "--skip-index",
        "--skip-indexing",
        "-n",
        action="store_true",
        help="search what is indexed already, without looking for changes",
    )
    add_scan_options(parser)
    parser.add_argument(  # rclip's: RAW files are read wherever the extra for them is installed
        "--experimental-raw-support", action="store_true", help=argparse.SUPPRESS
    )
    parser.add_argument("--strict", action="store_true", help="exit 1 if an image was skipped")
    add_model_options(parser)
    parser.explain_words = _explain_words
    parser.set_defaults(run=run)


def _add_more_options(parser: argparse.ArgumentParser) -> None:
    """Add what refines a query and what results must be like."""
    refine = parser.add_argument_group("refining")
    refine.add_argument(
        "--like",
        metavar="PATH",
        action="append",
        default=[],
        help="add an image to the query; may be repeated, and be all of it",
    )
    refine.add_argument(
        "--more-like",
        metavar="PATH",
        action="append",
        default=[],
        help="an image that is right: the query is refitted to those marked; may be repeated",
    )
    refine.add_argument(
        "--less-like", metavar="PATH", action="append", default=[], help="an image that is wrong"
    )
    refine.add_argument(
        "--diverse",
        dest="diversity",
        action="store_const",
        const=0.3,
        default=0.0,
        help="results that differ from each other, as --diversity 0.3",
    )
    refine.add_argument(
        "--diversity",
        type=values.number(0, 1),
        default=0.0,
        metavar="D",
        help="how much results should differ, 0 to 1 (default 0)",
    )
    refine.add_argument(
        "--sort",
        choices=[*SORTS, "date"],
        default="best",
        help="the order of the results: best first, or newest or oldest first; date means newest",
    )
    group = parser.add_argument_group("only images that are")
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
    group.add_argument("--camera", metavar="NAME", help="taken with a camera whose name has this")
    group.add_argument(
        "--not-camera",
        metavar="NAME",
        action="append",
        help="not taken with such a camera; may be repeated",
    )


def run(arguments: argparse.Namespace) -> int:
    """Search and print.

    Args:
        arguments: As parsed.

    Returns:
        0; 1 if nothing relevant was found, or an image was skipped and --strict was given; 130
        after Ctrl-C.
    """
    _settle_folder(arguments)
    query = _query(arguments)
    accepted = _filters(arguments)
    page = _page(arguments)
    preview = _open_preview(arguments)
    _check_indexing(arguments)
    _check_images(arguments, query)
    encoder = load_encoder(arguments)
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
        **accepted,
    )
    if page is not None:
        from clipkit.cli.contact_sheet import write_contact_sheet

        write_contact_sheet(page, _title(arguments), hits, max_pixels=encoder.max_pixels)
    is_answered = any(hit.relevance >= _wanted_relevance(arguments) for hit in hits)
    if not is_answered:
        note(_no_answer(library, arguments, is_shown=bool(hits)))
    _print_hits(hits, arguments, preview)
    return 1 if not is_answered or (has_skipped and arguments.strict) else 0


def _filters(arguments: argparse.Namespace) -> FilterOptions:
    """Return what results must be like; making a filter of it refuses what makes no sense."""
    min_width, min_height = arguments.min_size
    accepted = FilterOptions(
        path=arguments.path,
        not_path=arguments.not_path,
        after=arguments.after,
        before=arguments.before,
        min_width=min_width,
        min_height=min_height,
        orientation=arguments.orientation,
        camera=arguments.camera,
        not_camera=arguments.not_camera,
    )
    IndexFilter(**accepted)
    return accepted


def _page(arguments: argparse.Namespace) -> "OutputFile | None":
    """Return where the page of results goes, if it may."""
    if arguments.html is None:
        return None
    from clipkit.cli.contact_sheet import contact_sheet_file  # it decodes images

    page = contact_sheet_file(Path(arguments.html), is_forced=arguments.force)
    page.check()
    return page


def _open_preview(arguments: argparse.Namespace) -> "Preview | None":
    if not arguments.preview:
        return None
    from clipkit.cli.preview import open_preview  # it decodes images, which most searches do not

    return open_preview(arguments.preview_height)


def _settle_folder(arguments: argparse.Namespace) -> None:
    """Decide whether a lone word is a query or the folder; raise if there is no such folder."""
    has_other = arguments.like or arguments.more_like or arguments.less_like or arguments.add
    if arguments.query is not None and arguments.folder is None and _is_folder(arguments.query):
        if not has_other:
            folder = quoted(arguments.query)
            raise InputError(
                f"what to search for in {arguments.query}? Give words, as in  clipkit search "
                f'"a cat" {folder} ; to search for {arguments.query!r} here, give the folder too: '
                f" clipkit search {folder} ."
            )
        arguments.query, arguments.folder = None, arguments.query
    if arguments.folder is not None and not Path(arguments.folder).exists():
        words = [arguments.query or "", arguments.folder]
        raise InputError(
            f"{arguments.folder}: there is no such folder; to search for several words, put them "
            f"in quotes:  clipkit search {quoted(' '.join(words).strip())}"
        )
    arguments.folder = arguments.folder or "."
    PhotoLibrary.open(arguments.folder)  # says what is wrong with it


def _is_folder(word: str) -> bool:
    try:
        return bool(word) and Path(word).is_dir()
    except (OSError, ValueError):  # too long for a path, or with a null inside
        return False


def _explain_words(arguments: argparse.Namespace, left: Sequence[str]) -> str:
    """Return how several words without quotes are to be written."""
    words = [word for word in (arguments.query, arguments.folder, *left) if word is not None]
    folder = f" {quoted(words.pop())}" if _is_folder(words[-1]) else ""
    return (
        f"several words need quotes around them:  clipkit search {quoted(' '.join(words))}{folder}"
    )


def _check_indexing(arguments: argparse.Namespace) -> None:
    """Raise if --no-indexing stands beside what to index, or where nothing is indexed."""
    if not arguments.no_indexing:
        return
    if arguments.exclude is not None or arguments.include_hidden is not None:
        raise InputError(
            "--exclude and --include-hidden say what to index, which --no-indexing leaves as it "
            "is: leave one out"
        )
    check_is_indexed(arguments.folder)


def _check_images(arguments: argparse.Namespace, query: Query | None) -> None:
    """Raise if an image of the query cannot be read, before a first indexing takes hours."""
    paths = [Path(path) for path in (*arguments.more_like, *arguments.less_like)]
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: there is no such image to compare with")
    paths += [part.path for part in (query.parts if query else ()) if part.path is not None]
    if not paths or arguments.no_indexing or PhotoLibrary.open_nearest(arguments.folder).is_indexed:
        return
    from clipkit.inputs.thumbnails import read_thumbnail

    for path in paths:
        read_thumbnail(path, box=(1, 1))


def _query(arguments: argparse.Namespace) -> Query | None:
    for path in arguments.like:
        if "://" not in path and not expand_home(path).exists():
            raise InputError(f"{path}: there is no such image for --like")
    added = [*arguments.add, *(image_argument(path) for path in arguments.like)]
    words = [] if arguments.query is None else [arguments.query]
    if not words and added:
        words.append(added.pop(0))
    for sign, others in (("+", added), ("-", arguments.subtract)):
        for other in others:
            words += [sign, other]
    if not words and (arguments.more_like or arguments.less_like):
        return None
    if not words:
        raise InputError('what to search for? Give words, as in  clipkit search "a cat" ~/Pictures')
    return parse_query(*words, allow_urls=True)


def _title(arguments: argparse.Namespace) -> str:
    """Return the query as a person reads it."""
    parts = [arguments.query or "", *(f"+ {word}" for word in [*arguments.add, *arguments.like])]
    parts += [f"− {word}" for word in arguments.subtract]  # noqa: RUF001 - a minus for people
    return " ".join(filter(None, parts)) or "more of the same"


def _wanted_relevance(arguments: argparse.Namespace) -> float:
    """Return from where on a result is an answer."""
    wanted: float | None = arguments.min_relevance
    return DEFAULT_MIN_RELEVANCE if wanted is None else wanted


def _no_answer(library: PhotoLibrary, arguments: argparse.Namespace, *, is_shown: bool) -> str:
    """Return what to say when no result is relevant."""
    if line := nothing_line(library, arguments.folder):
        return line
    nothing = f"nothing relevant among {len(library):,} images".replace(",", " ")
    if is_shown:
        return f"{nothing}; these are the closest"
    if arguments.min_relevance:
        return f"{nothing}; without --min-relevance the closest are shown"
    return f"no image in {arguments.folder} passes the filters"


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
    """Return what to say about a sync, nothing if it found nothing to do."""
    counts = {
        "new": report.added,
        "changed": report.changed,
        "moved": report.moved,
        "deleted": report.removed,
    }
    news = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    if not report.newly_skipped:  # the others were told of before
        return f"indexed: {news}" if news else ""
    command = f"clipkit index {quoted(folder)}"
    skipped = f"{len(report.newly_skipped)} skipped, listed by  {command}"
    return f"indexed: {news}; {skipped}" if news else skipped


def _print_hits(
    hits: Sequence[SearchHit], arguments: argparse.Namespace, preview: "Preview | None"
) -> None:
    start = path_start(arguments.folder)
    paths = [f"{start}{hit.path}" for hit in hits]
    if arguments.json:
        for hit, path in zip(hits, paths, strict=True):
            raw = None if hit.raw is None else f"{start}{hit.raw}"
            print(to_json({"path": path, **_as_json(hit), "raw": raw}))
    elif arguments.filepath_only or arguments.print0:
        for path in paths:
            print(path, end="\0" if arguments.print0 else "\n")
    elif hits:
        # JSON's quotes: rclip's, but a name with a quote or a line break stays one field.
        rows = [
            (f"{hit.similarity:.3f}", to_json(path), f"{hit.relevance:.2f}")
            for hit, path in zip(hits, paths, strict=True)
        ]
        heading, *lines = table_lines([("score", "filepath", "relevance"), *rows])
        print(heading)
        for hit, line in zip(hits, lines, strict=True):
            print(line)
            if preview:
                preview.show(hit.path)


def _as_json(hit: SearchHit) -> dict[str, object]:
    return {
        "similarity": round(hit.similarity, 6),
        "relevance": round(hit.relevance, 4),
        "width": hit.width,
        "height": hit.height,
        "taken_at": hit.taken_at,
    }
