"""Whose turn it is: one step of the model's work at a time, and visitors in turn."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar
from weakref import WeakValueDictionary

from anyio.to_thread import run_sync

P = ParamSpec("P")
R = TypeVar("R")


class Turns:
    """A queue in which everybody stands at most once, whatever they have asked for.

    The model takes all cores for one step, so that steps side by side only slow each other down.
    A job of many steps queues again for each: somebody who comes meanwhile waits for one step of
    everybody else, not for their jobs. Waiting holds no thread.
    """

    def __init__(self) -> None:
        self._model = asyncio.Lock()  # lets in who came first
        self._visitors: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def take(
        self, visitor: str | None, step: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Return what a step gives, run in a thread when it is the visitor's turn.

        Args:
            visitor: The visitor's session; None for somebody who has none.
            step: The work, short.
            *args: For the step.
            **kwargs: For the step.

        Returns:
            What it returns.
        """
        own = self._visitors.setdefault(visitor or "", asyncio.Lock())
        async with own, self._model:
            return await run_sync(lambda: step(*args, **kwargs))
