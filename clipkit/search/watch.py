"""Keeping an index up to date while its folder changes."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from clipkit.errors import LibraryBusyError, LibraryError
from clipkit.inputs.folders import INDEX_FOLDER
from clipkit.search.sync import SyncReport

_QUIET_MS = 1600  # changes that come closer together are reported together
_STOP_CHECK_MS = 200  # how soon a request to stop is seen


def sync_on_changes(
    folder: Path, sync: Callable[[], SyncReport], stop: threading.Event | None = None
) -> Iterator[SyncReport]:
    """Sync now, and again whenever something in a folder has changed.

    While another process is writing, this waits.

    Args:
        folder: The folder.
        sync: Brings its index in step.
        stop: Set it to end the watch; without one it ends with KeyboardInterrupt.

    Yields:
        What each sync did.

    Raises:
        LibraryError: If the system cannot watch the folder.
    """
    is_behind = True
    for has_changed in watch_folder(folder, stop):
        is_behind = is_behind or has_changed
        if not is_behind:
            continue
        try:
            report = sync()
        except LibraryBusyError:
            continue
        is_behind = False
        yield report


def watch_folder(folder: Path, stop: threading.Event | None = None) -> Iterator[bool]:
    """Yield, a few times a second, whether something in a folder has changed since.

    Changes that follow each other closely are reported together, when there is quiet.

    Args:
        folder: The folder, with all that is in it. Links to folders elsewhere are not watched.
        stop: Set it to end the watch; without one it ends with KeyboardInterrupt.

    Yields:
        Whether something has changed; the first time when the watch has begun.

    Raises:
        LibraryError: If the system cannot watch the folder.
    """
    import watchfiles  # only here: most processes watch nothing

    index = str(folder.resolve() / INDEX_FOLDER)

    def is_of_interest(_: watchfiles.Change, path: str) -> bool:
        return not path.startswith(index)  # writing the index must not wake its writer

    try:
        for changes in watchfiles.watch(
            folder.resolve(),
            watch_filter=is_of_interest,
            debounce=_QUIET_MS,
            rust_timeout=_STOP_CHECK_MS,
            yield_on_timeout=True,
            stop_event=stop,
        ):
            yield bool(changes)
    except OSError as error:
        raise LibraryError(
            f"{folder} cannot be watched: {error}; index it from time to time instead"
        ) from error
