"""The queue for the model: one step of work at a time, visitors in turn."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import ParamSpec, TypeVar
from weakref import WeakValueDictionary

from anyio.to_thread import run_sync

import clipkit

P = ParamSpec("P")
R = TypeVar("R")

_LOOK_UP = 1.0  # seconds after which a job that waits sees that the page has ended


class ModelQueue:
    """A fair queue in which each visitor has at most one step waiting or running.

    The model uses all cores for one step, so steps in parallel only slow each other down. A job of
    many steps queues again for each: a new visitor waits for one step of each other visitor, not
    for their whole jobs. Waiting holds no thread.
    """

    def __init__(self) -> None:
        self._model = asyncio.Lock()  # first come, first served
        self._visitors: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(
        self, visitor: str | None, step: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a step in a thread when it is the visitor's turn, and return its result.

        Args:
            visitor: The visitor's session; None for a visitor without one.
            step: The work, short.
            *args: For the step.
            **kwargs: For the step.

        Returns:
            What the step returns.
        """
        own = self._visitors.setdefault(visitor or "", asyncio.Lock())
        async with own, self._model:
            return await run_sync(lambda: step(*args, **kwargs))

    async def run_in_turns(self, job: Callable[[clipkit.Progress], R]) -> R:
        """Run a long job in a thread; whenever it reports progress, others have their turn first.

        It has the model from its first report on. If nobody waits for it any more, it ends at the
        next one.

        Args:
            job: The work; it calls what it is given with how much is done, and how much there is.

        Returns:
            What the job returns.
        """
        turn = _Turn(self._model)
        work = asyncio.ensure_future(turn.run(job))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            turn.is_over = True
            work.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # is told
            raise


class _JobEndedError(Exception):
    """A job whose result nobody waits for."""


class _Turn:
    """The turns of one job that runs in a thread."""

    def __init__(self, model: asyncio.Lock) -> None:
        self.is_over = False
        self._model = model
        self._has_model = False
        self._loop = asyncio.get_running_loop()

    async def run(self, job: Callable[[clipkit.Progress], R]) -> R:
        try:
            return await run_sync(job, self._take_next)
        finally:
            self._give_back()

    def _take_next(self, num_done: int, total: int | None) -> None:
        """Wait in the job's thread until it has its next turn."""
        queued = asyncio.run_coroutine_threadsafe(self._queue_again(), self._loop)
        while not (self.is_over or self._loop.is_closed()):
            with contextlib.suppress(TimeoutError):
                return queued.result(_LOOK_UP)
        raise _JobEndedError

    async def _queue_again(self) -> None:
        self._give_back()
        if not self.is_over:
            await self._model.acquire()
            self._has_model = True
        if self.is_over:  # by now
            self._give_back()

    def _give_back(self) -> None:
        if self._has_model:
            self._has_model = False
            self._model.release()
