"""Indexing of the page's folder while it is served: in steps, with pauses, again and again.

Whatever ends it, a pause, an error or the end of the page, what is indexed by then is kept, and the
next time resumes there.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import cast

from anyio.to_thread import run_sync

import clipkit
from clipkit.demo.model_queue import ModelQueue

HEAD_START = 3.0  # seconds of indexing before the page is served: small folders are done then
INTERVAL = 60.0  # seconds after which new images are looked for again

Sync = Callable[[clipkit.Progress], clipkit.SyncReport]
"""Brings the index in step with the folder."""
_Step = tuple[int, int | None]  # how many images are done, and how many there are to do


@dataclass
class IndexingState:
    """How far the indexing is."""

    num_done: int = 0  # images, of this time
    total: int = 0  # how many there are to do; 0 while nothing is indexed
    started: float = 0.0  # when, by time.monotonic
    is_paused: bool = False
    problem: str = ""  # why it cannot go on

    @property
    def seconds_left(self) -> float | None:
        """How long it will take at the speed so far; None while that is not known."""
        if not self.num_done:
            return None
        spent = time.monotonic() - self.started
        return spent * (self.total - self.num_done) / self.num_done


class FolderIndexer:
    """Keeps an index in step with its folder while a page is served over it.

    Args:
        library: The folder and its index.
        queue: The queue for the model: visitors have it between two steps.
        sync: Brings the two in step; None: as the library does, the newest images first.
        tell: Called with what was done, each time.
        interval: Seconds after which new images are looked for again.
    """

    def __init__(
        self,
        library: clipkit.PhotoLibrary,
        queue: ModelQueue,
        *,
        sync: Sync | None = None,
        tell: Callable[[clipkit.SyncReport], None] = lambda report: None,
        interval: float = INTERVAL,
    ) -> None:
        self.state = IndexingState()
        self.version = 0  # differs after whatever may have changed the index
        self.library = library
        self.queue = queue
        self._sync = sync or (lambda progress: library.sync(progress=progress, order="newest"))
        self._tell = tell
        self._interval = interval
        self._wanted = asyncio.Event()
        self._is_ending = False
        self._is_done = False  # whether the index was in step once

    def begin(self, seconds: float = HEAD_START) -> None:
        """Index for a few seconds, before the page is served; what is left is for `run`.

        Args:
            seconds: After which it stops.

        Raises:
            InputError: If the folder is gone, or something asked for makes no sense.
        """
        end = time.monotonic() + seconds

        def stop_in_time(num_done: int, total: int | None) -> None:
            if time.monotonic() > end:
                raise _EnoughError

        with contextlib.suppress(_EnoughError, clipkit.LibraryError):  # of which `run` will tell
            self._finish(self._sync(stop_in_time))

    def pause(self) -> None:
        """Stop after the present step; nothing is indexed until `look` is called."""
        self.state.is_paused = True

    def look(self) -> None:
        """Go on, and look for new images now."""
        self.state.is_paused = False
        self._wanted.set()

    @contextlib.asynccontextmanager
    async def running(self, _: object = None) -> AsyncIterator[None]:
        """Index for as long as the block runs, such as the life of an application."""
        task = asyncio.create_task(self.run())
        try:
            yield
        finally:
            self._is_ending = True
            self._wanted.set()
            await task

    async def run(self) -> None:
        """Index, and look for new images again and again."""
        while not self._is_ending:
            self._wanted.clear()
            if not self.state.is_paused:
                await self._index()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), self._interval)

    async def _index(self) -> None:
        """Index until all is done, somebody pauses it or the page ends."""
        with self._telling_problems():
            if self._is_done and not await run_sync(self._is_behind):
                return
            job = self.queue.start("indexing", self._work)
            steps = cast("AsyncGenerator[_Step]", aiter(job))
            async with contextlib.aclosing(steps):  # ends the work when it is left
                async for num_done, total in steps:
                    if num_done == 0:
                        self.state.started = time.monotonic()
                    self.state.num_done, self.state.total = num_done, total or 0
                    self.version += 1
                    if self.state.is_paused or self._is_ending:
                        return
            self._finish(job.result)

    def _work(self, tell: Callable[[_Step], None]) -> clipkit.SyncReport:
        return self._sync(lambda num_done, total: tell((num_done, total)))

    def _is_behind(self) -> bool:
        """Return whether something in the folder has changed; the model is not needed for that."""
        status = self.library.status()
        has_changed = status.num_new or status.num_changed or status.num_removed
        return bool(has_changed) or status.num_missing != self.library.num_missing

    def _finish(self, report: clipkit.SyncReport) -> None:
        self._is_done = True
        self.version += report.has_news
        self._tell(report)

    @contextlib.contextmanager
    def _telling_problems(self) -> Iterator[None]:
        """Keep what goes wrong from ending the page: it is told, and tried again later."""
        self.state.problem = ""
        try:
            yield
        except clipkit.LibraryBusyError:
            self.state.problem = "Another program is indexing this folder."
        except clipkit.ClipkitError as error:
            logging.getLogger(__name__).error("%s", error)
            self.state.problem = (
                "It cannot be indexed now; where it was started, the reason is told."
            )
        finally:
            self.state.num_done = self.state.total = 0


class _EnoughError(Exception):
    """The time for a first look is over."""
