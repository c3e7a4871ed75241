"""map_ahead: results in order, bounded prefetch, and nothing left running after an early stop."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from clipkit.errors import InputError
from clipkit.progress import Callbacks, map_ahead


def test_results_come_in_the_order_of_the_items() -> None:
    first_may_end = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            first_may_end.wait(60)
        else:
            first_may_end.set()  # a later item is worked on while the first one lasts
        return number * number

    assert list(map_ahead(work, range(5), ahead=2)) == [0, 1, 4, 9, 16]


@pytest.mark.parametrize("ahead", [1, 3])
def test_no_more_items_are_taken_than_may_wait(ahead: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = map_ahead(str, items(), ahead=ahead)
    assert next(results) == "0"
    assert len(taken) == ahead + 1
    assert next(results) == "1"
    assert len(taken) == ahead + 2


def test_an_error_is_raised_in_its_turn() -> None:
    results = map_ahead(lambda number: 1 // number, [1, 0, 1], ahead=5)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_what_is_queued_is_dropped_when_nobody_asks_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[int] = []
    may_go_on = threading.Event()
    shut_down = ThreadPoolExecutor.shutdown

    def shut_down_then_go_on(
        pool: ThreadPoolExecutor, *, wait: bool, cancel_futures: bool = False
    ) -> None:
        shut_down(pool, wait=False, cancel_futures=cancel_futures)
        may_go_on.set()
        shut_down(pool, wait=wait)

    def work(number: int) -> None:
        if number:
            may_go_on.wait(60)
        done.append(number)

    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", shut_down_then_go_on)
    results = map_ahead(work, range(1000), ahead=500)
    next(results)
    results.close()
    assert len(done) <= 1 + (os.cpu_count() or 1)  # the first, and what was under way


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_as_many_threads_work_as_asked_for(workers: int) -> None:
    all_there = threading.Barrier(workers)
    lock = threading.Lock()
    at_work: list[int] = []
    most = 0

    def work(number: int) -> None:
        nonlocal most
        with lock:
            at_work.append(number)
            most = max(most, len(at_work))
        all_there.wait(60)  # opens only if as many are here at once
        with lock:
            at_work.remove(number)

    list(map_ahead(work, range(4 * workers), ahead=4 * workers, workers=workers))
    assert most == workers


def test_two_stages_work_at_the_same_time() -> None:
    both = threading.Barrier(2)

    def decode(number: int) -> int:
        if number == 1:
            both.wait(60)
        return number

    def embed(number: int) -> int:
        if number == 0:
            both.wait(60)  # opens only while the next one is decoded
        return -number

    decoded = map_ahead(decode, range(3), ahead=1, workers=1)
    assert list(map_ahead(embed, decoded, ahead=1, workers=1)) == [0, -1, -2]


def test_work_goes_on_while_the_caller_is_busy() -> None:
    is_done = threading.Event()

    def work(number: int) -> int:
        if number == 2:
            is_done.set()
        return number

    results = map_ahead(work, range(9), ahead=2, workers=1)
    assert next(results) == 0
    assert is_done.wait(60)
    results.close()


def test_an_error_of_the_items_comes_after_the_results_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise LookupError("no more")

    results = map_ahead(str, items(), ahead=10)
    assert next(results) == "1"
    assert next(results) == "2"
    with pytest.raises(LookupError, match="no more"):
        next(results)
    assert next(results, "nothing") == "nothing"


def test_an_interrupt_ends_at_once_and_leaves_no_thread() -> None:
    before = threading.active_count()

    def items() -> Iterator[int]:
        yield from range(5)
        raise KeyboardInterrupt  # as Ctrl-C would, while an item is asked for

    with pytest.raises(KeyboardInterrupt):
        list(map_ahead(str, items(), ahead=10))
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"on_step": lambda metrics: None}, r"on_step must be a function of \(step, metrics\)"),
        ({"on_validation": True}, r"on_validation must be a function of \(step, metrics\), got"),
        ({"on_checkpoint": lambda: None}, r"on_checkpoint must be a function of \(step, path\)"),
        ({"say": True}, r"say must be a function of \(line\), got bool True"),
        ({"warn": "ignore"}, r"warn must be a function of \(line\), got str"),
        ({"progress_for": None}, r"progress_for must be a function of \(label\), got NoneType"),
    ],
)
def test_a_callback_that_could_not_be_called_is_refused_at_once(
    given: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        Callbacks(**given)
