"""The queue for the model: one step of work at a time, visitors in turn."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar
from weakref import WeakValueDictionary

from anyio.to_thread import run_sync

P = ParamSpec("P")
R = TypeVar("R")


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
