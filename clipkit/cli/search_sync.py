"""Bringing an index up to date before a search."""

import argparse
from contextlib import nullcontext

from clipkit.cli.early_hits import EarlyHits
from clipkit.cli.indexing import check_is_indexed, sync_if_possible, sync_options
from clipkit.cli.report_lines import missing_line, sync_summary
from clipkit.cli.terminal import note
from clipkit.errors import InputError
from clipkit.search.filters import FilterOptions
from clipkit.search.library import PhotoLibrary


def check_indexing(arguments: argparse.Namespace) -> None:
    """Refuse --no-indexing beside options of indexing, or where nothing is indexed.

    Args:
        arguments: As parsed.

    Raises:
        InputError: If it contradicts another option.
        LibraryError: If the folder is not indexed.
    """
    if not arguments.no_indexing:
        return
    if arguments.exclude is not None or arguments.include_hidden is not None:
        raise InputError(
            "--exclude and --include-hidden say what to index, which --no-indexing leaves as it "
            "is: leave one out"
        )
    check_is_indexed(arguments.folder)


def sync_for_search(
    library: PhotoLibrary, arguments: argparse.Namespace, early: EarlyHits | None = None
) -> bool | None:
    """Bring the index up to date, unless --no-indexing was given.

    Args:
        library: The library.
        arguments: As parsed.
        early: Shows what is found on the way; what its filters let pass is indexed first.

    Returns:
        Whether an image was skipped; None after Ctrl-C, of which a note has been printed unless
        there was something to see already.

    Raises:
        LibraryError: If nothing is indexed yet, and nothing can be.
    """
    if arguments.no_indexing:
        return False
    on_commit, first = (early.show, early.filters) if early else (None, FilterOptions())
    options = sync_options(arguments, first=first)
    try:
        with early or nullcontext():
            report = sync_if_possible(library, arguments.folder, on_commit, **options)
    except KeyboardInterrupt:
        if early is None or early.shown is None:
            note(
                f"interrupted: what is indexed so far is kept (images: {len(library)}); search "
                "it with --no-indexing, or run the same command again to resume"
            )
        return None
    if report is None:
        return False
    if summary := sync_summary(report, arguments.folder):
        note(summary)
    if report.missing > report.missing_before:
        note(missing_line(library, report))
    return bool(report.skipped)
