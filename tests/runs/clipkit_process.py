"""``clipkit WORDS…`` in a process of its own, which begins with everything imported.

A fork of a server that has imported torch: it can be killed, and costs no seconds to start.
"""

import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from clipkit.cli import train as command
from clipkit.cli.main import main
from clipkit.progress import Progress

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__, "open_clip", "matplotlib.figure", "tensorboardX"])


@dataclass(frozen=True)
class Outcome:
    """What a process left behind."""

    status: int  # negative: ended by that signal
    out: str
    err: str


class ClipkitProcess:
    """A running command.

    Args:
        words: Of the command line.
        folder: Where its output is caught.
        environment: Variables that it has besides.
        signal_at: (step, signal) that it sends its process group, as a terminal does, after a
            training step.
        kill_at: (pattern, number): it kills itself at so many calls to the system about a path that
            holds the pattern.
    """

    def __init__(
        self,
        words: Sequence[object],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        signal_at: tuple[int, signal.Signals] | None = None,
        kill_at: tuple[str, int] | None = None,
    ) -> None:
        rank = (environment or {}).get("RANK", "0")
        self._out, self._err = folder / f"stdout.{rank}", folder / f"stderr.{rank}"
        texts = [str(word) for word in words]
        arguments = (texts, self._out, self._err, dict(environment or {}), signal_at, kill_at)
        self._process = _CONTEXT.Process(target=_run, args=arguments)
        self._process.start()

    def kill_after(self, seconds: float) -> None:
        """Let it live so long and kill it, unless it has ended."""
        self._process.join(seconds)
        self._process.kill()

    def outcome(self) -> Outcome:
        """Wait until it ends, and return what it left."""
        self._process.join(300)
        assert self._process.exitcode is not None, self._err.read_text()
        texts = [path.read_text() if path.exists() else "" for path in (self._out, self._err)]
        return Outcome(self._process.exitcode, *texts)


def run_ranks(
    words: Sequence[object],
    folder: Path,
    *,
    world_size: int,
    signal_at: tuple[int, signal.Signals] | None = None,
) -> list[Outcome]:
    """Run a command on several processes, as torchrun starts them; return how each ended.

    A signal reaches all of them.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {
        "WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "test",
    }
    processes = [
        ClipkitProcess(
            words,
            folder,
            environment=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            signal_at=signal_at,
        )
        for rank in range(world_size)
    ]
    return [process.outcome() for process in processes]


def _run(
    words: list[str],
    out: Path,
    err: Path,
    environment: dict[str, str],
    signal_at: tuple[int, signal.Signals] | None,
    kill_at: tuple[str, int] | None,
) -> None:
    os.setpgrp()  # processes that read images are in it too
    os.environ.update(environment)
    for path, number in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    torch.set_num_threads(1)
    sys.argv = ["clipkit", *words]
    if signal_at is not None:
        command._bar = lambda label: _signalling(label, *signal_at)
    if kill_at is not None:
        sys.addaudithook(_killer(*kill_at))
    sys.exit(main(words))


def _killer(pattern: str, number: int) -> Callable[[str, tuple[object, ...]], None]:
    """Return what counts calls to the system, and kills this process at one."""
    left = number

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event.startswith(("os.", "shutil.", "open")) and arguments:
            path = arguments[0]
            if isinstance(path, str | bytes | os.PathLike):
                left -= re.search(pattern, os.fsdecode(path)) is not None
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

    return count


@contextmanager
def _signalling(label: str, step: int, number: signal.Signals) -> Iterator[Progress]:
    """Send this process group a signal after a step, where a bar would be shown."""

    def progress(done: int, total: int | None) -> None:
        if label == "training" and done == step:
            # From outside: what reads images takes a signal of its parent as the end of work.
            words = ["kill", "-s", number.name[3:], "--", f"-{os.getpgrp()}"]
            subprocess.run(words, start_new_session=True, check=True)

    yield progress
