"""Whose turn it is to use the model: counted in steps, not in seconds."""

import asyncio
import gc
import threading
from collections.abc import Awaitable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("gradio", reason='the demo needs  pip install "clipkit[demo]"')

import clipkit
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


def test_a_long_job_lets_others_in_whenever_it_reports() -> None:
    queue, done = ModelQueue(), list[str]()

    def index(progress: clipkit.Progress) -> str:
        for number in range(4):
            progress(number, 4)
            done.append("index")
        return "indexed"

    async def both() -> None:
        indexing = asyncio.create_task(queue.run_in_turns(index))
        while not done:
            await asyncio.sleep(0)
        await _job(queue, "visitor", "visitor", 2, done)
        assert await indexing == "indexed"

    run_apart(both())
    assert done.count("index") == 4
    places = [place for place, name in enumerate(done) if name == "visitor"]
    assert places[1] - places[0] <= 2  # one step of the job between two of a visitor
    assert places[0] <= 3


def test_a_long_job_ends_at_its_next_report_when_nobody_waits_for_it() -> None:
    queue, started, goes_on, done = ModelQueue(), threading.Event(), threading.Event(), list[str]()

    def endless(progress: clipkit.Progress) -> None:
        while True:
            progress(0, 1)
            done.append("step")
            started.set()
            goes_on.wait(10)

    async def leave() -> None:
        job = asyncio.create_task(queue.run_in_turns(endless))
        await asyncio.to_thread(started.wait, 10)
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
        waiting = asyncio.create_task(queue.run("next", done.append, "next"))
        goes_on.set()
        await waiting  # the model is free again

    run_apart(leave())
    assert done == ["step", "next"]


def test_an_error_of_a_long_job_is_told_and_frees_the_model() -> None:
    queue, done = ModelQueue(), list[str]()

    def wrong(progress: clipkit.Progress) -> None:
        progress(0, 1)
        raise ZeroDivisionError

    async def both() -> None:
        with pytest.raises(ZeroDivisionError):
            await queue.run_in_turns(wrong)
        await queue.run("next", done.append, "next")

    run_apart(both())
    assert done == ["next"]
