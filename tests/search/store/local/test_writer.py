"""The writer's lock: one writer at a time, within a process and across processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from clipkit.errors import LibraryBusyError, LibraryError
from clipkit.paths import data_directory
from clipkit.search.store.local.writer import writer_lock

HOLD = """
import pathlib, sys
from clipkit.paths import data_directory
from clipkit.search.store.local.writer import writer_lock
with writer_lock(pathlib.Path(sys.argv[1]), pathlib.Path("photos")):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_told_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "writer.lock"
    with (
        writer_lock(path, Path("photos")),
        pytest.raises(LibraryBusyError) as caught,
        writer_lock(path, Path("photos")),
    ):
        pass
    assert str(caught.value) == (
        "another process is indexing photos: wait until it is done, or search what it has indexed "
        "so far with --no-indexing"
    )
    with writer_lock(path, Path("photos")):
        pass  # free again


def test_the_lock_holds_across_processes_and_ends_with_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "writer.lock"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(LibraryBusyError), writer_lock(path, Path("photos")):
            pass
        other.kill()
        other.wait()
    with writer_lock(path, Path("photos")):
        pass


def test_a_lock_that_cannot_be_made_says_where(tmp_path: Path) -> None:
    for directory in (tmp_path, data_directory()):
        with (
            pytest.raises(LibraryError, match=r"cannot be written at .*absent: ") as caught,
            writer_lock(directory / "absent" / "writer.lock", Path("photos")),
        ):
            pass
        # An index inside its folder lies there whatever CLIPKIT_HOME is.
        assert ("set CLIPKIT_HOME" in str(caught.value)) == (directory == data_directory())
