"""How long work goes on and tells how far it is: read ahead in threads, count aloud."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Progress = Callable[[int, int | None], None]
"""Called with (how many are done, how many there are or None)."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def map_ahead(
    function: Callable[[_Item], _Result], items: Iterable[_Item], *, ahead: int
) -> Iterator[_Result]:
    """Yield what a function makes of each item, in order, working ahead in a thread for each core.

    Args:
        function: Called in other threads; what it raises is raised here, in its turn.
        items: Taken one by one, no more than are needed.
        ahead: How many results may wait to be asked for.

    Yields:
        The results.
    """
    pending: deque[Future[_Result]] = deque()
    pool = ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix=function.__name__)
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        # Also when the caller stops early: what is queued must not be worked on for nobody.
        pool.shutdown(wait=True, cancel_futures=True)
