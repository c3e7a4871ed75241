"""Output of ``clipkit search``: a table, paths, JSON, images in the terminal, or an HTML page."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clipkit.cli.terminal import path_start, table_lines, to_json
from clipkit.search.search import SearchHit

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
            [("relevance", "filepath", "score"), *(_cells(hit, start) for hit in hits)]
        )
        print(heading)
        for hit, line in zip(hits, lines, strict=True):
            print(line)
            if preview:
                preview.show(hit.path)


def _json_object(hit: SearchHit, start: str) -> dict[str, object]:
    """Return `SearchHit.to_dict`, its paths as they are printed."""
    paths = {"path": hit.path, "raw": hit.raw}
    return hit.to_dict() | {
        name: None if path is None else f"{start}{path}" for name, path in paths.items()
    }


def _cells(hit: SearchHit, start: str) -> tuple[str, str, str]:
    # JSON's quotes: rclip's, but a name with a quote or a line break stays one field.
    path = to_json(f"{start}{hit.path}")
    return f"{hit.relevance:.2f}", path, f"{hit.similarity:.3f}"
