"""How soon a search of a folder that was never indexed shows its first hits, on a terminal.

Run as  python benchmarks/first_results.py  with clipkit[torch], on Linux. The folder of ten
thousand photographs is made once; before each search the index is deleted. Times are from the start
of the command to the first early answer on a pseudo-terminal, and from Ctrl-C to the end of the
process. The last search with each model runs to its end, and its answer is compared with that of
one that was told to wait. A ViT-B-32 with random weights is compiled beforehand.
"""

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from made_models import compiled_model
from made_photos import SMALL, make_photos
from report import Figure, Report, system_load
from workplace import Workplace

NUM, QUICK = 10_000, 300
ROUNDS = 5
QUERY = "a red boat"
STARTER, LARGER = "starter", "ViT-B-32-256"
SECONDS = 5.0  # that a person waits
_EARLY = re.compile(rb"from ([\d ]+) of [\d ]+ images so far")
_HIT = re.compile(r"\d\.\d\d +\S.*")
_CODE = re.compile(r"\r|\x1b\[\d*[A-Za-z]")


@dataclass
class Run:
    """One search on a terminal."""

    seconds: float | None = None  # to the first early answer
    num_images: int = 0  # that it was from
    seconds_to_end: float | None = None  # from Ctrl-C
    hits: Sequence[str] = ()  # of the last answer


def main() -> None:
    """Make the folder, search, report."""
    workplace = Workplace.from_command_line(__doc__)
    num = workplace.size(NUM, QUICK)
    folder = workplace.directory / "photos" / f"{SMALL.name}-{num}"
    make_photos(SMALL, num, folder)
    models = [STARTER, compiled_model(workplace, LARGER)]
    load, runs, figures = system_load(), {}, []
    for name, model in zip((STARTER, LARGER), models, strict=True):
        found = [
            search(workplace, folder, model, is_interrupted=True)
            for _ in range(workplace.num_rounds(ROUNDS))
        ]
        runs[name] = found
        figures += figures_of(name, found)
        whole = search(workplace, folder, model)
        waited = search(workplace, folder, model, "--wait")
        same = sum(one == other for one, other in zip(whole.hits, waited.hits, strict=True))
        lines = f"{name}, lines of ten that are the same after --wait"
        figures.append(Figure(lines, [same], "", at_least=10))
    Report("first_results", runs, figures, {"images": num, "query": QUERY}).save(workplace, load)


def figures_of(name: str, runs: Sequence[Run]) -> list[Figure]:
    """Return what a few searches with a model come to; those without an early answer are none."""
    seen = [run for run in runs if run.seconds is not None]
    if not seen:  # a small folder is indexed before there is something to show
        return []
    first = [run.seconds for run in seen if run.seconds is not None]
    end = [run.seconds_to_end for run in seen if run.seconds_to_end is not None]
    return [
        Figure(f"{name}, from the command to the first hits", first, " s", at_most=SECONDS),
        Figure(f"{name}, images that they are from", [float(run.num_images) for run in seen]),
        Figure(f"{name}, from Ctrl-C to the answer so far", end, " s"),
    ]


def search(
    workplace: Workplace, folder: Path, model: str, *options: str, is_interrupted: bool = False
) -> Run:
    """Search a folder that is not indexed, on a terminal.

    Args:
        workplace: Its home loses all indexes.
        folder: The images.
        model: What is searched with.
        *options: Further words of the command.
        is_interrupted: Whether to press Ctrl-C once there is an early answer.

    Returns:
        What was seen.
    """
    shutil.rmtree(workplace.home / "libraries", ignore_errors=True)
    words = [sys.executable, "-m", "clipkit", "search", QUERY, str(folder), "--model", model]
    run, shown, interrupted = Run(), b"", 0.0
    start = time.perf_counter()
    with terminal([*words, *options]) as screen:
        for part in parts(screen):
            shown += part
            if run.seconds is None and (match := _EARLY.search(shown)):
                run.seconds = time.perf_counter() - start
                run.num_images = int(match[1].replace(b" ", b""))
                if is_interrupted:
                    interrupted = time.perf_counter()
                    os.write(screen, b"\x03")
    if interrupted:
        run.seconds_to_end = time.perf_counter() - interrupted
    last = _CODE.sub("", shown.decode(errors="replace").rpartition("relevance")[2])
    run.hits = [line for line in last.splitlines() if _HIT.fullmatch(line)]
    return run


@contextmanager
def terminal(words: Sequence[str]) -> Iterator[int]:
    """Run a command on a pseudo-terminal of 24 lines and 100 columns; yield what is read from."""
    process, screen = pty.fork()
    if process == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # where this runs in the background
        os.execvpe(words[0], words, {**os.environ, "TERM": "xterm-256color"})
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    try:
        yield screen
    finally:
        os.waitpid(process, 0)
        os.close(screen)


def parts(screen: int) -> Iterator[bytes]:
    """Yield what a terminal is written to, as it comes, until nobody writes any more."""
    while True:
        select.select([screen], [], [])
        try:
            part = os.read(screen, 65536)
        except OSError:  # how a terminal says so
            return
        if not part:
            return
        yield part


if __name__ == "__main__":
    main()
