"""One process of a pool: it loads an encoder once, and does what it is sent."""

import functools
import os
import signal
import threading
import warnings
from collections.abc import Callable, Collection
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from typing import Generic, TypeVar

from clipkit.encoder.encoder import Encoder
from clipkit.encoder.image_calls import Decode
from clipkit.encoder.spec import EncoderSpec
from clipkit.errors import ClipkitError

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class EncoderOrder:
    """Which encoder a process loads, and with which settings."""

    spec: EncoderSpec
    max_pixels: int | None
    batch_size: int | None
    decode: Decode


@dataclass(frozen=True)
class Outcome(Generic[_Result]):
    """What a task returned, and of what it warned."""

    result: _Result
    warnings: list[tuple[str, type[Warning]]]


class PoolWorker:
    """A process that does one task at a time; it starts with the first one.

    Args:
        order: The encoder that its tasks are given.
        cores: Numbers of the cores that it keeps to, where the system can do that.
    """

    def __init__(self, order: EncoderOrder, cores: Collection[int]) -> None:
        self._order = order
        self._cores = cores
        self._executor = self._new_executor()

    def run(self, task: Callable[[Encoder], _Result]) -> Outcome[_Result]:
        """Do a task in the process.

        Args:
            task: Pickled, and called with the encoder there. If the process dies of it, it is
                called once more, in a new process.

        Returns:
            What it returned; what it raised is raised here.

        Raises:
            ClipkitError: If the process dies of it twice.
        """
        try:
            return self._submit(task)
        except BrokenProcessPool:
            self._restart()
        try:
            return self._submit(task)
        except BrokenProcessPool as error:
            self._restart()
            raise ClipkitError(
                f"a process of the pool died twice of the same work, on {self._order.spec.device}: "
                "often the system ended it because memory was short; take fewer devices or a "
                "smaller batch_size"
            ) from error

    def close(self) -> None:
        """End the process, after the task that it is at."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _submit(self, task: Callable[[Encoder], _Result]) -> Outcome[_Result]:
        return self._executor.submit(_run, self._order, task).result()

    def _restart(self) -> None:
        self._executor.shutdown(wait=True)
        self._executor = self._new_executor()

    def _new_executor(self) -> ProcessPoolExecutor:
        # Not forked: CUDA and threads do not survive that.
        return ProcessPoolExecutor(
            1, mp_context=get_context("spawn"), initializer=_begin, initargs=(self._cores,)
        )


def _begin(cores: Collection[int]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that has the pool
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)  # torch, ONNX Runtime and clipkit take as many threads


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # it was killed, and nobody is left to be told anything


def _run(order: EncoderOrder, task: Callable[[Encoder], _Result]) -> Outcome[_Result]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # which are shown is for the process that has the pool
        result = task(_loaded(order))
    return Outcome(result, [(str(one.message), one.category) for one in caught])


@functools.cache
def _loaded(order: EncoderOrder) -> Encoder:
    encoder = order.spec.load()
    encoder.max_pixels, encoder.batch_size = order.max_pixels, order.batch_size
    encoder.decode = order.decode
    return encoder
