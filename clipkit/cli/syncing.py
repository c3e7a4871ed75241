"""Bringing an index up to date before it is used, where that is possible."""

from collections.abc import Sequence

from clipkit.cli.parser import quoted
from clipkit.cli.progress import note, progress_bar
from clipkit.errors import LibraryBusyError, LibraryError
from clipkit.search.library import PhotoLibrary, SyncReport


def check_is_indexed(folder: str) -> None:
    """Raise if there is no index to use as it is, before a model is loaded for it.

    Args:
        folder: As the user wrote it.

    Raises:
        InputError: If there is no such folder.
        LibraryError: If neither it nor a folder that it lies in has been indexed.
    """
    if not PhotoLibrary.open_nearest(folder).is_indexed:
        raise LibraryError(f"{folder} has not been indexed: run  clipkit index {quoted(folder)}")


def sync_if_possible(
    library: PhotoLibrary,
    folder: str,
    *,
    exclude: Sequence[str] | None = None,
    include_hidden: bool | None = None,
) -> SyncReport | None:
    """See to new, changed, moved and deleted pictures, with a bar on stderr.

    While another process is writing, or where nobody can, a note says so: what is indexed
    already can be used all the same.

    Args:
        library: The library.
        folder: Its folder as the user wrote it.
        exclude: What to leave out, as for `PhotoLibrary.sync`.
        include_hidden: As for `PhotoLibrary.sync`.

    Returns:
        What was done; None if nothing could be.

    Raises:
        LibraryError: If nothing is indexed yet.
    """
    tell_of_other_models(library)
    try:
        with progress_bar("indexing") as progress:
            return library.sync(progress=progress, exclude=exclude, include_hidden=include_hidden)
    except LibraryError as error:
        if not library.is_indexed:
            raise
        is_busy = isinstance(error, LibraryBusyError)
        reason = f"another process is indexing {folder}" if is_busy else str(error)
        note(f"{reason}: using what is indexed so far")
        return None


def tell_of_other_models(library: PhotoLibrary) -> None:
    """Say that a folder will have one more index, if it has those of other models only."""
    others = [] if library.is_indexed else library.other_models
    if others:
        note(
            f"{library.folder} is indexed with {', '.join(others)}; {library.model} makes an index "
            "of its own beside that"
        )


def nothing_line(library: PhotoLibrary, folder: str) -> str:
    """Return why there is nothing to work on, "" if there is something.

    Args:
        library: The library.
        folder: Its folder as the user wrote it.

    Returns:
        The line.
    """
    if len(library):
        return ""
    return absent_line(library.num_missing, folder) or f"no images found in {folder}"


def absent_line(num_missing: int, folder: str) -> str:
    """Return what to say where every indexed image is away, "" if none is.

    Args:
        num_missing: How many are indexed and not there.
        folder: As the user wrote it.

    Returns:
        The line.
    """
    if not num_missing:
        return ""
    return (
        f"none of the {num_missing} images indexed in {folder} is there: connect their disk and "
        "run the same command again"
    )


def missing_line(library: PhotoLibrary, report: SyncReport) -> str:
    """Return what to say about indexed images that are not there, "" if there are none."""
    if not report.missing:
        return ""
    are = "image is" if report.missing == 1 else "images are"
    return (
        f"{report.missing} indexed {are} not there, as when a disk is not connected: kept, and "
        "left out of searches until it is back; if gone for good, run"
        f"  clipkit index {quoted(str(library.indexed_folder))} --prune"
    )
