"""A program that is loaded once and measured many times, in its own process and environment.

Tasks and answers are lines of JSON. This file is used on both sides, so it needs Python alone.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What a task gave, and what it took."""

    seconds: float  # inside the program, from the task's start to its end
    processor_seconds: float  # of all its threads
    result: Any


class Worker:
    """The other process, seen from here.

    Args:
        command: Its words.
        log: What it writes to its standard error; shown if it fails.
    """

    def __init__(self, command: Sequence[str], *, log: Path) -> None:
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def ask(self, task: str, **details: object) -> Answer:
        """Return the answer to one task.

        Args:
            task: Which of the functions that the program serves.
            details: Their arguments.

        Returns:
            The answer.

        Raises:
            RuntimeError: If the program has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # its answer is missing then too
            print(json.dumps([task, details]), file=self._process.stdin, flush=True)
        reply = self._process.stdout.readline()
        if not reply:
            raise RuntimeError(f"{self._process.args!r} failed: {self._log.read_text()[-4000:]}")
        return Answer(**json.loads(reply))

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def serve(functions: Mapping[str, Callable[..., Any]]) -> None:
    """Answer tasks until there are no more.

    Args:
        functions: By name. They return an array, or what JSON has a form for.
    """
    # What libraries print must not get between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        task, details = json.loads(line)
        start, processor_start = time.perf_counter(), time.process_time()
        result = functions[task](**details)
        seconds = time.perf_counter() - start
        processor_seconds = time.process_time() - processor_start
        if hasattr(result, "tolist"):
            result = result.tolist()
        answer = {"seconds": seconds, "processor_seconds": processor_seconds, "result": result}
        print(json.dumps(answer), file=answers, flush=True)
