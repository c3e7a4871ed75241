"""A sync by a clock of the test's own, so that no test waits for a commit."""

from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

from clipkit.search.library import PhotoLibrary
from clipkit.search.sync import SyncReport, sync_library


def sync_by(clock: Callable[[], float], library: PhotoLibrary, **options: Any) -> SyncReport:
    """Sync as `library.sync(**options)` does, with a clock in place of the machine's."""
    with patch("clipkit.search.library.sync_library", partial(sync_library, clock=clock)):
        return library.sync(**options)
