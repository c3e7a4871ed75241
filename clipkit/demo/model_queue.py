"""The queue for the model: one step of work at a time, visitors in turn."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Generic, ParamSpec, TypeVar
from weakref import WeakValueDictionary

from anyio.to_thread import run_sync

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class ModelQueue:
    """A fair queue in which each visitor has at most one step waiting or running.

    The model uses all cores for one step, so steps in parallel only slow each other down. A job of
    many steps queues again for each: a new visitor waits for one step of each other visitor, not
    for their whole jobs. Waiting for a step holds no thread.
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
        own = self._own(visitor)
        async with own, self._model:
            return await run_sync(lambda: step(*args, **kwargs))

    def start(self, visitor: str | None, work: Callable[[Callable[[T], None]], R]) -> "Job[T, R]":
        """Return long work that lets others have the model between two of its steps.

        Args:
            visitor: The visitor's session; None for a visitor without one.
            work: Called in a thread with a function that it calls after every step, with what to
                tell the visitor. That function returns when it is the visitor's turn again.

        Returns:
            The job. It starts when it is iterated.
        """
        return Job(self._own(visitor), self._model, work)

    def _own(self, visitor: str | None) -> asyncio.Lock:
        return self._visitors.setdefault(visitor or "", asyncio.Lock())


class Job(Generic[T, R]):
    """Long work on the model: iterate over what it tells, then take its result.

    It ends after its present step when nobody iterates any more.

    Args:
        own: Held during each of its visitor's steps.
        model: Held during each step of anybody.
        work: As for :meth:`ModelQueue.start`.
    """

    result: R

    def __init__(
        self, own: asyncio.Lock, model: asyncio.Lock, work: Callable[[Callable[[T], None]], R]
    ) -> None:
        self._own = own
        self._model = model
        self._work = work

    async def __aiter__(self) -> AsyncIterator[T]:
        """Do the work; yield what it tells."""
        loop = asyncio.get_running_loop()
        told: asyncio.Queue[tuple[T, ...]] = asyncio.Queue()  # () is the end
        is_left = threading.Event()

        def tell(something: T) -> None:
            if is_left.is_set():
                raise _LeftError
            loop.call_soon_threadsafe(told.put_nowait, (something,))
            asyncio.run_coroutine_threadsafe(self._let_others(), loop).result()

        async with self._own, self._model:
            working = asyncio.ensure_future(run_sync(self._work, tell))
            working.add_done_callback(lambda _: told.put_nowait(()))
            try:
                while something := await told.get():
                    yield something[0]
                self.result = await working
            finally:
                is_left.set()
                await asyncio.wait([working])  # to its next step: then the model is free
                if not working.cancelled():
                    working.exception()  # has been told of, or nobody is there to be told

    async def _let_others(self) -> None:
        """Give the turn away and wait for the next one."""
        self._model.release()
        self._own.release()
        await self._own.acquire()
        await self._model.acquire()


class _LeftError(Exception):
    """The visitor of a job has left."""
