"""Bringing an index up to date before a search."""

import argparse
from contextlib import nullcontext

from clipkit.cli.early_hits import EarlyHits
from clipkit.cli.options import missing_line, sync_if_possible
from clipkit.cli.quoting import quoted
from clipkit.cli.terminal import note
from clipkit.search.library import PhotoLibrary, SyncReport


def sync_for_search(
    library: PhotoLibrary, arguments: argparse.Namespace, early: EarlyHits | None = None
) -> bool | None:
    """Bring the index up to date, unless --no-indexing was given.

    Args:
        library: The library.
        arguments: As parsed.
        early: Shows what is found on the way.

    Returns:
        Whether an image was skipped; None after Ctrl-C, of which a note has been printed unless
        there was something to see already.

    Raises:
        LibraryError: If nothing is indexed yet, and nothing can be.
    """
    if arguments.no_indexing:
        return False
    try:
        with early or nullcontext():
            report = sync_if_possible(
                library,
                arguments.folder,
                exclude=arguments.exclude,
                include_hidden=arguments.include_hidden,
                on_commit=early.show if early else None,
            )
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


def sync_summary(report: SyncReport, folder: str) -> str:
    """Return a message about a sync of a folder, "" if it found nothing to do."""
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
