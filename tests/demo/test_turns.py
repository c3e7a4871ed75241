"""Whose turn it is to use the model: counted in steps, not in seconds."""

import asyncio
import gc
import threading
from collections.abc import Awaitable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("gradio", reason='the demo needs  pip install "clipkit[demo]"')

from demo.turns import Turns


async def _job(turns: Turns, visitor: str | None, name: str, steps: int, done: list[str]) -> None:
    for _ in range(steps):
        await turns.take(visitor, done.append, name)


def run(*jobs: Awaitable[None]) -> None:
    async def all_of_them() -> None:
        await asyncio.gather(*jobs)

    run_apart(all_of_them())


def run_apart(job: Coroutine[Any, Any, None]) -> None:
    """Run a job in a thread: the browser of other tests has a loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, job).result()


def test_who_comes_later_waits_for_one_step_of_each_not_for_their_jobs() -> None:
    turns, done = Turns(), list[str]()
    jobs = [_job(turns, "hog", "hog", 100, done) for _ in range(8)]
    run(*jobs, _job(turns, "other", "other", 3, done))
    assert [place for place, name in enumerate(done) if name == "other"] == [1, 3, 5]
    assert len(done) == 803


def test_all_visitors_get_the_same() -> None:
    turns, done = Turns(), list[str]()
    run(*(_job(turns, name, name, 10, done) for name in "abcde"))
    assert done == list("abcde") * 10


def test_one_step_at_a_time() -> None:
    turns, running, most = Turns(), threading.Semaphore(1), list[bool]()

    def step() -> None:
        is_alone = running.acquire(blocking=False)
        most.append(is_alone)
        if is_alone:
            running.release()

    async def job(name: str) -> None:
        for _ in range(20):
            await turns.take(name, step)

    run(*map(job, "abcdef"))
    assert most == [True] * 120


def test_an_error_and_somebody_who_leaves_let_the_others_in() -> None:
    turns, done = Turns(), list[str]()

    async def leave() -> None:
        waiting = asyncio.create_task(turns.take("left", done.append, "left"))
        holding = asyncio.create_task(turns.take("first", done.append, "first"))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, holding, return_exceptions=True)
        with pytest.raises(ZeroDivisionError):
            await turns.take("wrong", divmod, 1, 0)
        await turns.take("last", done.append, "last")

    run_apart(leave())
    assert done[-1] == "last"
    gc.collect()  # the errors hold what they came through
    assert len(turns._visitors) == 0  # nobody is remembered
