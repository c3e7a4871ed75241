"""The time and the peak memory of a command, as the system counts them. POSIX only."""

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_SAMPLE_SECONDS = 0.01


@dataclass(frozen=True)
class Run:
    """One run of a command."""

    seconds: float  # from its start to its end
    processor_seconds: float  # of all its threads: hardly longer where others use the machine too
    peak: int  # bytes of memory, pages of mapped files included
    peak_anonymous: int  # bytes of it that are in no file; sampled, 0 where the system hides it
    output: list[str]  # lines


def run(command: Sequence[str], *, cwd: Path, variables: Mapping[str, str]) -> Run:
    """Run a command to its end.

    Keep the calling process small: the system counts its memory for the new process too, until
    that has become another program.

    Args:
        command: The words.
        cwd: Where it runs.
        variables: What to set in its environment, besides what is there.

    Returns:
        What was measured.

    Raises:
        RuntimeError: If it fails.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=cwd, env={**os.environ, **variables}, stdout=output, stderr=errors
        )
        sampler = _Sampler(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        peak_anonymous = sampler.stop()
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise RuntimeError(f"{command} failed: {errors.read().decode(errors='replace')}")
        lines = output.read().decode().splitlines()
    processor_seconds = usage.ru_utime + usage.ru_stime
    return Run(seconds, processor_seconds, usage.ru_maxrss * 1024, peak_anonymous, lines)


def forget_files(paths: Iterable[Path]) -> None:
    """Take files out of the system's file cache, as after a restart; needs no privilege.

    Args:
        paths: Files whose content is on the disk. What other processes have mapped stays.
    """
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


class _Sampler:
    """Looks at a process's anonymous memory until it is told to stop."""

    def __init__(self, process_id: int) -> None:
        self._status = Path(f"/proc/{process_id}/status")
        self._peak = 0
        self._is_done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> int:
        """Return the most that was seen, bytes."""
        self._is_done.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while not self._is_done.wait(_SAMPLE_SECONDS):
            try:
                lines = self._status.read_text().splitlines()
            except OSError:
                return
            for line in lines:
                if line.startswith("RssAnon:"):
                    self._peak = max(self._peak, int(line.split()[1]) * 1024)
