"""Syncs in processes that a test may kill, each forked from a server that has imported everything.

Run as ``python -m tests.search.killable_sync``. A job is a line of JSON on its input. The process
that syncs says "started" and, at its end, "done" with how many calls it took, if they were counted.
Then the server is told "wait" or "kill", and answers with the exit status. That order makes sure
that nobody but the process meant is ever killed.
"""

import dataclasses
import itertools
import json
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

from clipkit.embeddings import Embeddings
from clipkit.inputs.image_input import ImageInput
from clipkit.search.ingest import hash_file
from clipkit.search.library import PhotoLibrary
from clipkit.search.store.local.catalog import Catalog
from clipkit.search.store.local.vectors import VectorWriter
from tests.fakes import MEMORY, FakeEncoder, save_image
from tests.search.timed_sync import sync_by

MOMENTS = {
    "vectors": (VectorWriter, "flush"),
    "catalog": (Catalog, "_write_meta"),  # inside the transaction, behind its rows
}


@dataclass(frozen=True)
class SyncJob:
    """One sync in a process of its own."""

    folder: str
    home: str  # $CLIPKIT_HOME
    encoded: str  # a file that gets the digest of each image that was encoded
    batch_size: int = 2
    clock_step: float = 3600.0  # what the clock goes on by when asked; 3600: commit at each step
    # When it kills itself: "" or before the n-th image, or call of one of MOMENTS, or any call.
    moment: str = ""
    count: int = 0
    crops: int | None = None  # as for `PhotoLibrary.sync`


@dataclass(frozen=True)
class Outcome:
    """How a sync ended."""

    was_killed: bool
    is_complete: bool
    num_calls: int  # of a complete sync that should have ended at one of them


class SyncServer:
    """The server, seen from the tests."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None and process.stdout is not None
        self._input, self._output = process.stdin, process.stdout

    def run(self, job: SyncJob, *, kill_after: float | None = None) -> Outcome:
        """Run a sync; kill it after so many seconds, if it is not done by then."""
        self._say(json.dumps(dataclasses.asdict(job)))
        line = self._output.readline()
        assert line == b"started\n", line
        is_left_alone = kill_after is None or select.select([self._output], [], [], kill_after)[0]
        self._say("wait" if is_left_alone else "kill")
        word, number = self._output.readline().split()
        num_calls, is_complete = int(number), word == b"done"
        if is_complete:
            word, number = self._output.readline().split()
        status = int(number)
        assert status in (0, -signal.SIGKILL), f"the sync failed with status {status}"
        return Outcome(status != 0, is_complete, num_calls if is_complete else 0)

    def _say(self, line: str) -> None:
        self._input.write(line.encode() + b"\n")


@contextmanager
def sync_server() -> Iterator[SyncServer]:
    """Run a server for as long as the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,  # what has been said must not wait where select cannot see it
    )
    with process:
        yield SyncServer(process)


class LoggingEncoder(FakeEncoder):
    """Writes down what it has encoded, so that a kill does not take the knowledge away."""

    def __init__(self, log: Path, batch_size: int) -> None:
        super().__init__(batch_size=batch_size)
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def _encode(self, image: ImageInput) -> Embeddings:
        embedding = super()._encode(image)
        assert isinstance(image, Path)
        os.write(self._log, hash_file(image).hex().encode() + b"\n")
        return embedding


class CallCounter:
    """Counts what the files of an index do, and kills its process at one of these moments.

    A moment is a call, of a function in C too, or a return from one.
    """

    files = frozenset({"catalog.py", "crop_file.py", "rows.py", "vectors.py", "writer.py"})

    def __init__(self, fatal: int) -> None:
        self.seen = 0
        self._fatal = fatal

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if code.co_name == "background" or os.path.basename(code.co_filename) not in self.files:  # noqa: PTH119 - faster
            return
        self.seen += 1
        if self.seen == self._fatal:
            _kill_myself()


def _kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_before_call(owner: type, name: str, count: int) -> None:
    original, calls = getattr(owner, name), itertools.count()

    def patched(*arguments: Any, **options: Any) -> Any:
        if next(calls) == count:
            _kill_myself()
        return original(*arguments, **options)

    setattr(owner, name, patched)


def _sync(job: SyncJob) -> None:
    """Run a sync in this process, which nobody needs any more."""
    os.environ["CLIPKIT_HOME"] = job.home
    encoder = LoggingEncoder(Path(job.encoded), job.batch_size)
    if job.moment == "image":
        encoder.before_image = lambda number: _kill_myself() if number == job.count else None
    elif job.moment in MOMENTS:
        _kill_before_call(*MOMENTS[job.moment], job.count)
    counter = CallCounter(job.count if job.moment == "call" else -1)
    clock = itertools.count(step=job.clock_step)
    library = PhotoLibrary.open_nearest(job.folder, encoder)
    _tell("started")
    if job.moment == "call":
        sys.setprofile(counter)
    sync_by(lambda: next(clock), library, crops=job.crops)
    sys.setprofile(None)
    _tell(f"done {counter.seen}")


def _tell(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def _serve() -> None:
    for line in sys.stdin:
        child = os.fork()
        if not child:
            status = 1
            try:
                _sync(SyncJob(**json.loads(line)))
                status = 0
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                os._exit(status)
        if sys.stdin.readline() == "kill\n":
            os.kill(child, signal.SIGKILL)
        _tell(f"exit {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")


def _warm_up() -> None:
    """Sync once here, so that everything is imported before the first fork."""
    with TemporaryDirectory(dir=MEMORY) as scratch:
        image = save_image(Path(scratch) / "photos" / "a.png", (1, 2, 3))
        folder = image.parent
        PhotoLibrary.open(folder, FakeEncoder(), location=Path(scratch) / "index").sync()


if __name__ == "__main__":
    _warm_up()
    _serve()
