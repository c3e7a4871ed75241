"""One process of a pool: it loads an encoder once, and does what it is sent."""

import functools
import os
import signal
import threading
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from clipkit.encoder.encoder import Encoder
from clipkit.encoder.image_calls import Decode
from clipkit.encoder.spec import EncoderSpec
from clipkit.errors import ClipkitError, InputError
from clipkit.progress import usable_cores

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


class GivenUpError(ClipkitError):
    """Nobody wants the result of a task any more."""


class WorkerDiedError(ClipkitError):
    """A process died of a task, and another one died of it too."""


class PoolWorker:
    """A process that does one task at a time; it starts with the first one.

    Args:
        cores: Numbers of the cores that it keeps to, where the system can do that.
    """

    def __init__(self, cores: Collection[int]) -> None:
        self._cores = cores
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    def run(
        self,
        order: EncoderOrder,
        task: Callable[[Encoder], _Result],
        *,
        is_given_up: Callable[[], bool] = lambda: False,
    ) -> Outcome[_Result]:
        """Do a task in the process.

        Args:
            order: The encoder that the task is given; another one than before is loaded.
            task: Pickled, and called with the encoder there. If the process dies of it, it is
                called once more, in a new process.
            is_given_up: Whether nobody wants the result any more: after stop().

        Returns:
            What it returned; what it raised is raised here.

        Raises:
            WorkerDiedError: If the process dies of it twice.
            ClipkitError: If it cannot begin.
            GivenUpError: If the process was ended, and nobody wants the result.
        """
        for _ in range(2):
            if is_given_up():
                raise GivenUpError("the work was given up")
            answer = self._ask(order, task)
            if answer is None:
                continue
            is_raised, content = answer
            if is_raised:
                raise content
            outcome: Outcome[_Result] = content
            return outcome
        if is_given_up():
            raise GivenUpError("the work was given up")
        raise WorkerDiedError(
            f"a process of the pool died twice of the same work, on {order.spec.device}: often the "
            "system ended it because memory was short; take fewer devices or a smaller batch_size"
        )

    def stop(self) -> None:
        """End the process at once, whatever it is at; the next task starts another one."""
        process = self._process
        if process is not None:
            process.kill()
            process.join()

    def _ask(self, order: EncoderOrder, task: Callable[[Encoder], Any]) -> tuple[bool, Any] | None:
        """Return what the process answers; None if it died."""
        pipe = self._pipe if self._pipe is not None else self._begin()
        try:
            pipe.send((order, task))
            answer: tuple[bool, Any] = pipe.recv()
        except (EOFError, OSError):
            self._forget()
            return None
        return answer

    def _begin(self) -> Connection:
        context = get_context("spawn")  # not forked: CUDA and threads do not survive that
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_serve, args=(theirs, self._cores), name="clipkit pool", daemon=True
        )
        with _interrupts_blocked():
            try:
                process.start()
            except AssertionError as error:  # by multiprocessing, of a daemonic process
                raise InputError(f"a pool cannot be used here: {error}") from error
        theirs.close()
        self._process, self._pipe = process, ours
        try:
            ours.recv()
        except (EOFError, OSError):
            self._forget()
            raise ClipkitError(
                "a process of the pool ended while it began. Each of them imports the script that "
                'uses the pool: this must be a file, and what it does stand below if __name__ == "'
                '__main__":'
            ) from None
        return ours

    def _forget(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None


def shares_of_cores(count: int) -> list[list[int]]:
    """Return the numbers of the cores of each of so many processes; with few cores they share."""
    has_numbers = hasattr(os, "sched_getaffinity")
    cores = sorted(os.sched_getaffinity(0)) if has_numbers else list(range(usable_cores()))
    return [cores[number::count] or [cores[number % len(cores)]] for number in range(count)]


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Let a process that starts in the block never hear of Ctrl-C, where the system can do that."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, cores: Collection[int]) -> None:
    """Do tasks until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)  # torch, ONNX Runtime and clipkit take as many threads
    pipe.send("ready")
    with suppress(EOFError, OSError):
        while True:
            order, task = pipe.recv()
            pipe.send(_answer(order, task))


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # it was killed, and nobody is left to be told anything


def _answer(order: EncoderOrder, task: Callable[[Encoder], Any]) -> tuple[bool, Any]:
    """Return whether a task raised something, and that or its outcome."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")  # which are shown is for the process of the pool
            encoder = _loaded(order.spec)
            encoder.max_pixels, encoder.batch_size = order.max_pixels, order.batch_size
            encoder.decode = order.decode
            result = task(encoder)
    except Exception as error:  # noqa: BLE001 - raised again where the pool is
        return True, error
    return False, Outcome(result, [(str(one.message), one.category) for one in caught])


@functools.lru_cache(maxsize=1)
def _loaded(spec: EncoderSpec) -> Encoder:
    return spec.load()
