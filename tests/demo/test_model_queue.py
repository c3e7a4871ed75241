"""Whose turn it is to use the model: counted in steps, not in seconds."""

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("gradio", reason='the demo needs  pip install "clipkit[demo]"')

from clipkit.demo.model_queue import ModelQueue


async def _job(
    queue: ModelQueue, visitor: str | None, name: str, steps: int, done: list[str]
) -> None:
    for _ in range(steps):
        await queue.run(visitor, done.append, name)


def run(*jobs: Awaitable[None]) -> None:
    async def all_of_them() -> None:
        await asyncio.gather(*jobs)

    run_apart(all_of_them())


def run_apart(job: Coroutine[Any, Any, None]) -> None:
    """Run a job in a thread: the browser of other tests has a loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, job).result()


def test_who_comes_later_waits_for_one_step_of_each_not_for_their_jobs() -> None:
    queue, done = ModelQueue(), list[str]()
    jobs = [_job(queue, "hog", "hog", 100, done) for _ in range(8)]
    run(*jobs, _job(queue, "other", "other", 3, done))
    assert [place for place, name in enumerate(done) if name == "other"] == [1, 3, 5]
    assert len(done) == 803


def test_all_visitors_get_the_same() -> None:
    queue, done = ModelQueue(), list[str]()
    run(*(_job(queue, name, name, 10, done) for name in "abcde"))
    assert done == list("abcde") * 10


def test_one_step_at_a_time() -> None:
    queue, running, most = ModelQueue(), threading.Semaphore(1), list[bool]()

    def step() -> None:
        is_alone = running.acquire(blocking=False)
        most.append(is_alone)
        if is_alone:
            running.release()

    async def job(name: str) -> None:
        for _ in range(20):
            await queue.run(name, step)

    run(*map(job, "abcdef"))
    assert most == [True] * 120


def test_an_error_and_somebody_who_leaves_let_the_others_in() -> None:
    queue, done = ModelQueue(), list[str]()

    async def leave() -> None:
        waiting = asyncio.create_task(queue.run("left", done.append, "left"))
        holding = asyncio.create_task(queue.run("first", done.append, "first"))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, holding, return_exceptions=True)
        with pytest.raises(ZeroDivisionError):
            await queue.run("wrong", divmod, 1, 0)
        await queue.run("last", done.append, "last")

    run_apart(leave())
    assert done[-1] == "last"
    gc.collect()  # the errors hold what they came through
    assert len(queue._visitors) == 0  # nobody is remembered


def test_a_job_lets_others_have_the_model_after_each_of_its_steps() -> None:
    queue, done = ModelQueue(), list[str]()

    def work(tell: Callable[[int], None]) -> str:
        for number in range(10):
            done.append("job")
            tell(number)
        return "result"

    async def iterate() -> None:
        job = queue.start("hog", work)
        assert [number async for number in job] == list(range(10))
        assert job.result == "result"

    run(iterate(), _job(queue, "other", "other", 3, done), _job(queue, "hog", "search", 1, done))
    assert [place for place, name in enumerate(done) if name == "other"] == [1, 3, 5]
    assert done.index("search") <= 3  # nor does a job hold its own visitor's other questions
    assert len(done) == 14


def test_an_error_of_a_job_is_its_visitors_and_frees_the_model() -> None:
    queue, done = ModelQueue(), list[str]()

    def work(tell: Callable[[int], None]) -> None:
        tell(0)
        raise ZeroDivisionError

    async def iterate() -> None:
        told = []
        with pytest.raises(ZeroDivisionError):
            async for number in queue.start("wrong", work):
                told.append(number)
        assert told == [0]
        await queue.run("wrong", done.append, "next")

    run(iterate())
    assert done == ["next"]


def test_a_job_ends_when_nobody_iterates_over_it_any_more() -> None:
    queue, done = ModelQueue(), list[str]()

    def work(tell: Callable[[int], None]) -> None:
        for number in range(10_000):
            done.append("step")
            tell(number)

    async def leave() -> None:
        async for number in queue.start("left", work):
            if number == 3:
                break
        for _ in range(10):  # between two of them it would have had its turn
            await queue.run("next", done.append, "next")

    run_apart(leave())
    assert done[-1] == "next"
    assert done.count("step") <= 6  # four were told of
    gc.collect()
    assert len(queue._visitors) == 0
