"""Bringing the index of a folder up to date for a command, and the options for that."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Unpack

from clipkit.cli.quoting import quoted
from clipkit.cli.terminal import note, progress_bar
from clipkit.errors import DamagedLibraryError, LibraryBusyError, LibraryError
from clipkit.search.library import PhotoLibrary, SyncReport
from clipkit.search.sync_options import SyncOptions

if TYPE_CHECKING:
    from clipkit.search.indexing_estimate import IndexingEstimate
    from clipkit.search.sync_progress import SyncProgress


def add_scan_options(parser: "argparse._ActionsContainer") -> None:
    """Add --exclude and --include-hidden, which an index keeps for next time."""
    parser.add_argument(
        "--exclude",
        "--exclude-dir",  # rclip's
        action="append",
        metavar="PATTERN",
        help="leave out files and folders of this name, or with a / of this path inside FOLDER; "
        '*, ? and ** work; may be repeated; kept for next time, --exclude "" clears it',
    )
    parser.add_argument(
        "--include-hidden",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="index names that start with a dot too; kept for next time",
    )


def sync_options(arguments: argparse.Namespace, **others: Unpack[SyncOptions]) -> SyncOptions:
    """Return what add_scan_options has parsed, and others, as `PhotoLibrary.sync` takes them."""
    others["exclude"] = arguments.exclude
    others["include_hidden"] = arguments.include_hidden
    return others


def check_is_indexed(folder: str) -> None:
    """Refuse a folder that is not indexed, before a model is loaded for it.

    Args:
        folder: As the user wrote it.

    Raises:
        InputError: If there is no such folder.
        LibraryError: If neither it nor a folder that it lies in has been indexed.
    """
    if not PhotoLibrary.open_nearest(folder).is_indexed:
        raise LibraryError(f"{folder} has not been indexed: run  clipkit index {quoted(folder)}")


def note_other_models(library: PhotoLibrary) -> None:
    """Print a note that a folder gets one more index, if it has only those of other models."""
    others = [] if library.is_indexed else library.other_models
    if library.model in others:
        note(
            f"{library.folder} was indexed with other weights or dimensions of {library.model}, so "
            "its images are embedded again; the old index stays until you run  clipkit index "
            f"{quoted(str(library.folder))} --model {quoted(library.model)} --rebuild"
        )
    elif others:
        note(
            f"{library.folder} is indexed with {', '.join(others)}; {library.model} makes an index "
            "of its own beside that"
        )


def sync_if_possible(
    library: PhotoLibrary,
    folder: str,
    on_commit: "Callable[[SyncProgress], None] | None" = None,
    **options: Unpack[SyncOptions],
) -> SyncReport | None:
    """Bring the index up to date, with a progress bar on stderr.

    If another process is writing, or the index cannot be written, a note says so and what is
    indexed already is used.

    Args:
        library: The library.
        folder: Its folder as the user wrote it.
        on_commit: Called after each commit, as by `PhotoLibrary.sync`.
        **options: What to index, as for `PhotoLibrary.sync`.

    Returns:
        What was done; None if nothing could be.

    Raises:
        LibraryError: If nothing is indexed yet, or the index is damaged.
    """
    note_other_models(library)
    try:
        return sync_with_bar(library, on_commit, **options)
    except DamagedLibraryError:
        raise  # there is nothing to use
    except LibraryError as error:
        if not library.is_indexed:
            raise
        is_busy = isinstance(error, LibraryBusyError)
        reason = f"another process is indexing {folder}" if is_busy else str(error)
        note(f"{reason}: using what is indexed so far")
        return None


def sync_with_bar(
    library: PhotoLibrary,
    on_commit: "Callable[[SyncProgress], None] | None" = None,
    **options: Unpack[SyncOptions],
) -> SyncReport:
    """Bring the index up to date; if that takes long, say so and show a progress bar.

    Args:
        library: The library.
        on_commit: Called after each commit, as by `PhotoLibrary.sync`.
        **options: What to index, as for `PhotoLibrary.sync`.

    Returns:
        What was done.

    Raises:
        LibraryError: If nothing can be.
    """

    def announce(estimate: "IndexingEstimate") -> None:
        note(f"{estimate}; Ctrl-C keeps what is done")

    with progress_bar("indexing") as progress:
        return library.sync(progress=progress, on_estimate=announce, on_commit=on_commit, **options)
