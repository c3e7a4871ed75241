"""Ordered prefetch in threads, and the callbacks of long tasks."""

import os
import sys
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from clipkit.arguments import check_callable
from clipkit.errors import ClipkitWarning

if TYPE_CHECKING:
    from concurrent.futures import Future

Progress = Callable[[int, int | None], None]
"""Called with (how many are done, how many there are or None)."""

StepProgress = Callable[[str], None]
"""Called with a word or two before each step of work whose steps differ."""


def _show_nothing(label: str) -> AbstractContextManager[Progress]:
    return nullcontext(lambda done, total: None)


def _issue_warning(line: str) -> None:
    """Issue a warning at the line of code that called clipkit."""
    level, frame = 1, sys._getframe()
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("clipkit."):
        level, frame = level + 1, frame.f_back
    warnings.warn(line, ClipkitWarning, stacklevel=level)


class StopTraining(Exception):  # noqa: N818 - it is no error, as StopIteration is none
    """Raised by a callback to end a training run as Ctrl-C does.

    The step at hand is finished and a checkpoint is written; the same call resumes the run.
    """


@dataclass(frozen=True)
class Callbacks:
    """Callbacks of a long task for messages, warnings and progress, and of a training run's steps.

    Those of training are called in the process that writes (rank 0) once the thing is done. What
    one raises ends the run, and train raises it; checkpoints that are there stay, and the same call
    resumes. :class:`StopTraining` ends it in good order. Random numbers that they draw do not
    change the run.

    Attributes:
        say: Called with a line of text; by default nothing is said.
        warn: Called with a sentence on what is probably not what was meant; by default it is issued
            as a ClipkitWarning, which Python shows and its filters choose from.
        progress_for: Called with a label, as "training"; what it returns is entered while the work
            is done, and gives what is called with progress. By default nothing is shown.
        on_step: Training: called after each step with its number, from 1, and its metrics ("loss",
            "lr", "gradient_norm", …), not means as in the log.
        on_validation: Training: called with (step, metrics) when weights were measured, first at
            step 0; "score" is what the best weights are chosen by, if there is one.
        on_checkpoint: Training: called with (step, path) when a checkpoint was written.

    Raises:
        InputError: If one is no function, or of more or fewer values.
    """

    say: Callable[[str], None] = lambda line: None
    warn: Callable[[str], None] = _issue_warning
    progress_for: Callable[[str], AbstractContextManager[Progress]] = _show_nothing
    on_step: Callable[[int, Mapping[str, float]], object] = lambda step, metrics: None
    on_validation: Callable[[int, Mapping[str, float]], object] = lambda step, metrics: None
    on_checkpoint: Callable[[int, Path], object] = lambda step, path: None

    def __post_init__(self) -> None:
        """Raise if one could not be called, which a long task would find late."""
        check_callable(self.say, "say", "line")
        check_callable(self.warn, "warn", "line")
        check_callable(self.progress_for, "progress_for", "label")
        check_callable(self.on_step, "on_step", "step", "metrics")
        check_callable(self.on_validation, "on_validation", "step", "metrics")
        check_callable(self.on_checkpoint, "on_checkpoint", "step", "path")


CALLBACKS_RULE = "callbacks must be a clipkit.Callbacks, as in Callbacks(on_step=…)"


def keep_warnings(callbacks: Callbacks, kept: list[str]) -> Callbacks:
    """Return callbacks that warn once of each thing.

    Args:
        callbacks: Called by them.
        kept: Gets every warning, in the order they come.

    Returns:
        The new ones.
    """

    def warn(line: str) -> None:
        if line not in kept:
            kept.append(line)
            callbacks.warn(line)

    return replace(callbacks, warn=warn)


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
    from concurrent.futures import Future, ThreadPoolExecutor  # only here: it imports logging

    pending: deque[Future[_Result]] = deque()
    pool = ThreadPoolExecutor(workers or usable_cores(), thread_name_prefix=function.__name__)

    def submitted() -> "Iterator[Future[_Result]]":
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
