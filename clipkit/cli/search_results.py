"""Output of ``clipkit search``: a table, paths, JSON, images in the terminal, or an HTML page."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clipkit.cli.report_lines import nothing_line
from clipkit.cli.terminal import path_start, table_lines, to_json
from clipkit.search.library import PhotoLibrary
from clipkit.search.relevance import DEFAULT_MIN_RELEVANCE
from clipkit.search.search import SearchHit, SearchHits

if TYPE_CHECKING:
    from clipkit.cli.outputs import OutputFile
    from clipkit.cli.preview import Preview


def open_page(arguments: argparse.Namespace) -> "OutputFile | None":
    """Return the file of --html, None without that option.

    Args:
        arguments: As parsed.

    Returns:
        The file, which may be written.

    Raises:
        InputError: If something else is in its place, or its folder cannot be written to.
    """
    if arguments.html is None:
        return None
    from clipkit.cli.contact_sheet import contact_sheet_file  # it decodes images

    page = contact_sheet_file(Path(arguments.html), is_forced=arguments.force)
    page.check()
    return page


def open_preview(arguments: argparse.Namespace) -> "Preview | None":
    """Return how --preview shows images; None without that option or without a terminal."""
    if not arguments.preview:
        return None
    from clipkit.cli import preview  # it decodes images, which most searches do not

    return preview.open_preview(arguments.preview_height)


def print_hits(
    hits: Sequence[SearchHit], arguments: argparse.Namespace, preview: "Preview | None"
) -> None:
    """Print the hits of a search in the form that the options select.

    Args:
        hits: Best first.
        arguments: As parsed.
        preview: Shows each image below its row of the table.
    """
    start = path_start(arguments.folder)
    if arguments.json:
        for hit in hits:
            print(to_json(_json_object(hit, start)))
    elif arguments.filepath_only or arguments.print0:
        for hit in hits:
            print(f"{start}{hit.path}", end="\0" if arguments.print0 else "\n")
    elif hits:
        heading, *lines = table_lines(
            [("relevance", "filepath", "similarity"), *(_cells(hit, start) for hit in hits)]
        )
        print(heading)
        for hit, line in zip(hits, lines, strict=True):
            print(line)
            if preview:
                preview.show(hit.path)


def has_found_nothing(hits: SearchHits, arguments: argparse.Namespace) -> bool:
    """Return whether there is probably nothing: no result, and no paths for programs."""
    # Somebody who sets a bound has decided what is worth showing.
    has_bound = arguments.min_relevance is not None
    return not hits or (hits.verdict == "probably nothing" and not has_bound)


def hit_rows(hits: Sequence[SearchHit], folder: str) -> list[str]:
    """Return the rows of the table of hits, without its heading.

    Args:
        hits: Best first.
        folder: As the user wrote it.

    Returns:
        A line each.
    """
    start = path_start(folder)
    return table_lines([_cells(hit, start) for hit in hits], has_heading=False)


def _json_object(hit: SearchHit, start: str) -> dict[str, object]:
    """Return `SearchHit.to_dict`, its paths as they are printed."""
    paths = {"path": hit.path, "raw": hit.raw}
    return hit.to_dict() | {
        name: None if path is None else f"{start}{path}" for name, path in paths.items()
    }


def _cells(hit: SearchHit, start: str) -> tuple[str, str, str]:
    # JSON's quotes: rclip's, but a name with a quote or a line break stays one field.
    path = to_json(f"{start}{hit.path}")
    # Rounded down, so that no relevance looks as if it counted as found that does not.
    return f"{math.floor(hit.relevance * 100) / 100:.2f}", path, f"{hit.similarity:.3f}"


def what_was_found(
    library: PhotoLibrary, arguments: argparse.Namespace, hits: SearchHits, *, is_filtered: bool
) -> str:
    """Return the sentence about a search as a whole.

    Args:
        library: The library.
        arguments: As parsed.
        hits: What it found.
        is_filtered: Whether only some images were looked at.

    Returns:
        The sentence, without a full stop.
    """
    if line := nothing_line(library, arguments.folder):
        return line
    among = _among(library, hits.num_searched, is_filtered=is_filtered)
    if not hits and arguments.min_relevance and hits.num_searched:
        return (
            f"nothing of relevance {arguments.min_relevance:g} or more {among}; without "
            "--min-relevance the most relevant are shown"
        )
    if not hits and hits.num_searched:
        return f"nothing is left in {arguments.folder} beside the images of the query"
    if not hits:
        return f"no image in {arguments.folder} passes the filters"
    if hits.verdict == "found":
        return f"{_number_found(hits)} {among}{_rest(hits)}"
    if hits.verdict == "not sure":
        return f"not sure that any of these fits, {among}"
    if arguments.filepath_only or arguments.print0:
        option = "-f" if arguments.filepath_only else "-0"
        return f"probably nothing {among}; without {option} the closest are shown"
    return f"probably nothing {among}; these are the closest"


def _among(library: PhotoLibrary, number: int, *, is_filtered: bool) -> str:
    """Return how many images were looked at."""
    among = f"among {number:,} image{'s' * (number != 1)}".replace(",", " ")
    if is_filtered:
        return f"{among} that pass{'es' * (number == 1)} the filters"
    if missing := library.num_missing:
        return f"{among} ({missing:,} more cannot be reached now)".replace(",", " ")
    return among


def _number_found(hits: SearchHits) -> str:
    return f"found {hits.num_found}{' or more' if hits.may_be_more else ''}"


def _rest(hits: SearchHits) -> str:
    """Return what else is to be known of the images shown, beside the number that was found."""
    others = sum(hit.relevance < DEFAULT_MIN_RELEVANCE for hit in hits)
    if others:
        return f"; the other {others} shown fit{'s' * (others == 1)} less"
    return f"; {len(hits)} shown, more with -t" if len(hits) < hits.num_found else ""
