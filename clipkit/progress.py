"""Ordered prefetch in threads, and the types of progress callbacks."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

Progress = Callable[[int, int | None], None]
"""Called with (how many are done, how many there are or None)."""

StepProgress = Callable[[str], None]
"""Called with a word or two before each step of work whose steps differ."""


def _show_nothing(label: str) -> AbstractContextManager[Progress]:
    return nullcontext(lambda done, total: None)


@dataclass(frozen=True)
class Callbacks:
    """Callbacks of a long task for messages and progress; by default they do nothing."""

    say: Callable[[str], None] = lambda line: None  # called with a line of text
    # Called with a label, as "training"; progress is shown while what it returns is entered.
    progress_for: Callable[[str], AbstractContextManager[Progress]] = _show_nothing


_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_ahead(
    function: Callable[[_Item], _Result],
    items: Iterable[_Item],
    *,
    ahead: int,
    workers: int | None = None,
) -> Generator[_Result]:
    """Yield a function's result for each item, in order, computed ahead in threads (prefetch).

    Threads work while the caller does something else, until ``ahead`` results wait for it. Calls
    can be chained as the stages of a pipeline, whose slowest stage sets the pace.

    Args:
        function: Called in other threads; what it raises is raised here, in its turn.
        items: Taken one by one in the caller's thread, no more than are needed; what they raise is
            raised after the results of those before.
        ahead: How many results may wait to be asked for.
        workers: How many threads; None: one for each core.

    Yields:
        The results.
    """
    pending: deque[Future[_Result]] = deque()
    pool = ThreadPoolExecutor(workers or usable_cores(), thread_name_prefix=function.__name__)

    def submitted() -> Iterator[Future[_Result]]:
        try:
            for item in items:
                yield pool.submit(function, item)
        except Exception as error:  # noqa: BLE001 - it is raised again in its turn
            failed: Future[_Result] = Future()
            failed.set_exception(error)
            yield failed

    try:
        for future in submitted():
            pending.append(future)
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        # Also when the caller stops early: what is queued is then not needed any more.
        pool.shutdown(wait=True, cancel_futures=True)
