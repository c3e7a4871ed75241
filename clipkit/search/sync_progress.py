"""What a sync tells while it is under way."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from clipkit.errors import InputError
from clipkit.progress import Progress
from clipkit.search.indexing_estimate import LEAST, IndexingEstimate, RowCost, pace_teller


@dataclass(frozen=True)
class SyncProgress:
    """How much of a folder its index holds, while the rest is being indexed."""

    num_indexed: int  # images that a search looks at now
    num_images: int  # these, and the new ones that are still to be read

    def __str__(self) -> str:
        """Return it as words, such as "180 of 10 000 images"."""
        noun = "image" if self.num_images == 1 else "images"
        return f"{self.num_indexed:,} of {self.num_images:,} {noun}".replace(",", " ")


@dataclass(frozen=True)
class SyncCallbacks:
    """What a sync calls on its way, as `PhotoLibrary.sync` says; each may be None."""

    progress: Progress | None = None
    on_estimate: Callable[[IndexingEstimate], None] | None = None
    on_commit: Callable[[SyncProgress], None] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be called before the work begins."""
        for name in ("on_estimate", "on_commit"):
            given = getattr(self, name)
            if given is not None and not callable(given):
                raise InputError(f"{name} must be a function, as print is one, got {given!r}")

    def after_step(
        self,
        num_files: int,
        num_unknown: int,
        clock: Callable[[], float] = time.monotonic,
        cost: RowCost | None = None,
    ) -> Callable[[int], None]:
        """Return a function to call after every step with how many files are done.

        Args:
            num_files: How many there are to do.
            num_unknown: How many of them, the last ones, surely have to be embedded; the others may
                only have moved.
            clock: Returns the time in seconds.
            cost: What an image takes in the index; None: not told.

        Returns:
            The function.
        """
        watchers: list[Callable[[int], None]] = []
        if self.on_estimate is not None and num_unknown >= LEAST:
            watch_pace = pace_teller(num_unknown, self.on_estimate, cost=cost, clock=clock)
            num_familiar = num_files - num_unknown  # hashed in no time, which says nothing
            watchers.append(lambda done: watch_pace(done) if done > num_familiar else None)
        if (progress := self.progress) is not None and num_files:
            progress(0, num_files)
            # What is found to have moved is done before its crops are.
            watchers.append(lambda num_done: progress(min(num_done, num_files), num_files))

        def tell(num_done: int) -> None:
            for watch in watchers:
                watch(num_done)

        return tell

    def after_commit(self, num_new: int, count: Callable[[], int]) -> Callable[[int], None]:
        """Return a function to call after every commit with how many new files are done.

        Args:
            num_new: How many new files there are to do.
            count: Returns how many images are indexed.

        Returns:
            The function.
        """
        if (on_commit := self.on_commit) is None:
            return lambda num_done: None

        def tell(num_done: int) -> None:
            num_indexed, num_left = count(), num_new - num_done
            if num_left:  # else it is over in a moment
                on_commit(SyncProgress(num_indexed, num_indexed + num_left))

        return tell
