"""Dynamic batching: what several requests ask for at once goes through the model together.

While the model computes, what arrives waits, and all of it is the next batch. So nothing is slowed
down where one client asks at a time, and a batch grows with the load. Under load a batch also waits
a moment for those who have just been answered and ask again.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, NamedTuple, TypeVar

from clipkit.server.refusals import busy

LINGER_SECONDS = 0.002

Item = TypeVar("Item")
Result = TypeVar("Result")

Observe = Callable[[int, float], None]
"""Called after each batch with how many items it had, and the seconds it took."""


class _Waiting(NamedTuple, Generic[Item, Result]):
    """One item, who asked, and what is told the result."""

    item: Item
    request: int
    future: "asyncio.Future[Result]"


class Batcher(Generic[Item, Result]):
    """Computes items of many callers in batches, in a thread of its own.

    To be made and used in one event loop.

    Args:
        compute: From the items of a batch to as many results; called in the thread.
        max_batch: Items a batch.
        max_waiting: Items that may be admitted at once.
        linger: Seconds that a batch waits for more, where the last one was of several callers.
        observe: Told of each batch.
        name: Of the items, for messages.
    """

    def __init__(
        self,
        compute: Callable[[list[Item]], Sequence[Result]],
        *,
        max_batch: int,
        max_waiting: int,
        linger: float = LINGER_SECONDS,
        observe: Observe = lambda size, seconds: None,
        name: str = "items",
    ) -> None:
        self._compute = compute
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._linger = linger
        self._observe = observe
        self._name = name
        self._queue: deque[_Waiting[Item, Result]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"batch-{name}")
        self._runner: asyncio.Task[None] | None = None
        self._num_requests = 0
        self._was_shared = False
        self.num_admitted = 0

    @contextmanager
    def admit(self, count: int) -> Iterator[None]:
        """Take up room for items for as long as the block lasts: before they are prepared.

        Args:
            count: How many. A caller that is alone is always admitted.

        Yields:
            Nothing.

        Raises:
            RefusedError: If there is no room: the caller is to come again.
        """
        if self.num_admitted and self.num_admitted + count > self._max_waiting:
            raise busy(
                f"{self.num_admitted} {self._name} wait for the model already: send this again in "
                "a second"
            )
        self.num_admitted += count
        try:
            yield
        finally:
            self.num_admitted -= count

    async def submit(self, items: Sequence[Item]) -> list[Result]:
        """Return the result of each item; if the caller is cancelled, none is computed any more.

        Args:
            items: Any number.

        Returns:
            As many results, in their order.
        """
        if not items:
            return []
        loop = asyncio.get_running_loop()
        self._num_requests += 1
        waiting: list[_Waiting[Item, Result]] = [
            _Waiting(item, self._num_requests, loop.create_future()) for item in items
        ]
        self._queue.extend(waiting)
        if self._runner is None or self._runner.done():
            self._runner = loop.create_task(self._run())
        return list(await asyncio.gather(*(one.future for one in waiting)))

    def close(self) -> None:
        """End the thread once its batch is done."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _run(self) -> None:
        """Compute batches until nothing waits."""
        while self._queue:
            if self._was_shared and len(self._queue) < self._max_batch:
                await asyncio.sleep(self._linger)
            batch = self._take()
            if batch:
                self._was_shared = len({one.request for one in batch}) > 1
                await self._answer(batch)

    def _take(self) -> list[_Waiting[Item, Result]]:
        """Return the next batch, without what nobody waits for any more."""
        batch: list[_Waiting[Item, Result]] = []
        while self._queue and len(batch) < self._max_batch:
            one = self._queue.popleft()
            if not one.future.done():
                batch.append(one)
        return batch

    async def _answer(self, batch: list[_Waiting[Item, Result]]) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        items = [one.item for one in batch]
        try:
            results = await loop.run_in_executor(self._thread, self._compute, items)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the callers' answer
            if len(batch) == 1:
                _fail(batch[0].future, error)
                return
            for one in batch:  # alone, so that only those fail that are at fault
                await self._answer([one])
            return
        self._observe(len(batch), loop.time() - start)
        for one, result in zip(batch, results, strict=True):
            if not one.future.done():
                one.future.set_result(result)


def _fail(future: "asyncio.Future[Result]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
