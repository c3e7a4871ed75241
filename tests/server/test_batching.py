"""Dynamic batching, with a computation that waits until the test lets it go on."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from clipkit.server.batching import Batcher
from clipkit.server.refusals import RefusedError


class Doubler:
    """Doubles numbers, and remembers its batches; the first one waits for the test."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.has_begun, self.may_go_on = threading.Event(), threading.Event()

    def __call__(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        if len(self.batches) == 1:
            self.has_begun.set()
            assert self.may_go_on.wait(60)
        if -1 in items:
            raise ValueError("there is no half of it")
        return [2 * item for item in items]


def run(
    job: Callable[[Batcher[int, int], Doubler], Coroutine[Any, Any, None]], **options: Any
) -> Doubler:
    """Run a job with a batcher of eight."""
    doubler = Doubler()

    async def main() -> None:
        batcher = Batcher(doubler, **{"max_batch": 8, "max_waiting": 100, "linger": 0, **options})
        try:
            await job(batcher, doubler)
        finally:
            doubler.may_go_on.set()
            batcher.close()

    asyncio.run(main())
    return doubler


async def begin(batcher: Batcher[int, int], doubler: Doubler) -> "asyncio.Task[list[int]]":
    """Let a first batch of one item begin, which keeps the thread busy."""
    first = asyncio.ensure_future(batcher.submit([0]))
    while not doubler.has_begun.is_set():
        await asyncio.sleep(0)
    return first


def test_what_comes_while_a_batch_is_computed_is_the_next_batch() -> None:
    async def job(batcher: Batcher[int, int], doubler: Doubler) -> None:
        first = await begin(batcher, doubler)
        others = [asyncio.ensure_future(batcher.submit([n, 10 * n])) for n in (1, 2, 3)]
        await asyncio.sleep(0)
        doubler.may_go_on.set()
        assert await first == [0]
        assert await asyncio.gather(*others) == [[2, 20], [4, 40], [6, 60]]

    assert run(job).batches == [[0], [1, 10, 2, 20, 3, 30]]


def test_a_batch_is_no_larger_than_it_may_be_and_answers_keep_their_order() -> None:
    async def job(batcher: Batcher[int, int], doubler: Doubler) -> None:
        doubler.may_go_on.set()
        assert await batcher.submit(list(range(20))) == [2 * n for n in range(20)]
        assert await batcher.submit([]) == []

    assert [len(batch) for batch in run(job).batches] == [8, 8, 4]


def test_a_bad_item_fails_only_for_who_sent_it() -> None:
    async def job(batcher: Batcher[int, int], doubler: Doubler) -> None:
        first = await begin(batcher, doubler)
        good, bad = (asyncio.ensure_future(batcher.submit([n, 5])) for n in (1, -1))
        await asyncio.sleep(0)
        doubler.may_go_on.set()
        assert await first == [0]
        assert await good == [2, 10]
        with pytest.raises(ValueError, match="no half"):
            await bad
        assert await batcher.submit([7]) == [14]

    run(job)


def test_nothing_is_computed_for_one_who_has_gone() -> None:
    async def job(batcher: Batcher[int, int], doubler: Doubler) -> None:
        first = await begin(batcher, doubler)
        gone, there = (asyncio.ensure_future(batcher.submit([n])) for n in (1, 2))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        doubler.may_go_on.set()
        assert await first == [0]
        assert await there == [4]
        assert gone.cancelled()

    assert run(job).batches == [[0], [2]]


def test_there_is_room_for_so_many_and_for_one_who_is_alone() -> None:
    async def job(batcher: Batcher[int, int], doubler: Doubler) -> None:
        with batcher.admit(9), pytest.raises(RefusedError, match="9 items wait") as caught:  # noqa: SIM117
            with batcher.admit(2):
                pass
        assert caught.value.status == 503
        assert caught.value.headers["Retry-After"] == "1"
        with batcher.admit(1000):
            assert batcher.num_admitted == 1000
        assert batcher.num_admitted == 0

    run(job, max_waiting=10)


def test_batches_are_told_of() -> None:
    told: list[int] = []

    async def job(batcher: Batcher[int, int], doubler: Doubler) -> None:
        doubler.may_go_on.set()
        await batcher.submit([1, 2, 3])

    run(job, observe=lambda size, seconds: told.append(size))
    assert told == [3]
