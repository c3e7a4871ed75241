"""Many shards listed by several processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing import parent_process
from pathlib import Path

import psutil
import pytest

from clipkit.data import shard_listings
from clipkit.data.shard_listing import Shard, ShardListing, list_shard
from clipkit.data.shard_listings import list_shards
from clipkit.data.shard_samples import ShardCaptions
from clipkit.errors import InputError
from tests.data.conftest import image, write_shard


@pytest.fixture
def shards(tmp_path: Path) -> list[Shard]:
    """Five shards of three pairs each."""
    paths = [
        write_shard(
            tmp_path / f"{number}.tar",
            [
                {"__key__": f"{n}", "png": image(n), "txt": f"{number} {n}".encode()}
                for n in range(3)
            ],
        )
        for number in range(5)
    ]
    return [Shard(path, str(path)) for path in paths]


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let even small shards be listed by two processes."""
    monkeypatch.setattr(shard_listings, "_WORTH_PROCESSES", 0)
    monkeypatch.setattr(shard_listings, "usable_cores", lambda: 2)


def _list_and_sign(shard: Shard, captions: ShardCaptions) -> ShardListing:
    """List a shard, and leave a file beside it that says by which process."""
    shard.file.with_name(f"{shard.file.stem} by {os.getpid()}").touch()
    return list_shard(shard, captions)


def _list_or_die(shard: Shard, captions: ShardCaptions) -> ShardListing:
    """List a shard, unless it is the fourth and this is no process of the tests."""
    if parent_process() is not None and shard.file.stem == "3":
        os.kill(os.getpid(), signal.SIGKILL)
    return list_shard(shard, captions)


def _texts(listings: Sequence[ShardListing]) -> list[tuple[str, ...]]:
    return [listing.rows[row] for listing in listings for row in range(3)]


def _listed(shards: list[Shard]) -> list[tuple[str, ...]]:
    def unsaid(line: str) -> None:
        raise AssertionError(line)

    return _texts(list_shards(shards, ShardCaptions(), say=unsaid))


EXPECTED = [(f"{number}.tar/{n}", f"{number} {n}") for number in range(5) for n in range(3)]


@pytest.mark.usefixtures("several")
def test_several_processes_list_what_one_does_in_its_order(
    shards: list[Shard], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_listings, "list_shard", _list_and_sign)
    assert _listed(shards) == EXPECTED
    processes = {path.name.partition(" by ")[2] for path in tmp_path.glob("* by *")}
    assert len(list(tmp_path.glob("* by *"))) == 5
    assert str(os.getpid()) not in processes
    # Out of the cache, but for one that was added since.
    shards[2].file.write_bytes(shards[1].file.read_bytes())
    assert _listed(shards)[6:9] == [(f"2.tar/{n}", f"1 {n}") for n in range(3)]
    assert len(list(tmp_path.glob("* by *"))) == 6


@pytest.mark.usefixtures("several")
def test_an_error_in_a_process_is_raised_here(shards: list[Shard]) -> None:
    shards[3].file.write_bytes(b"no tar")
    with pytest.raises(InputError, match=r"3\.tar is no tar file: it starts with b'no tar'"):
        _listed(shards)


@pytest.mark.usefixtures("several")
def test_shards_of_a_process_that_was_killed_are_listed_here(
    shards: list[Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_listings, "list_shard", _list_or_die)
    assert _listed(shards) == EXPECTED


def test_what_takes_long_says_how_far_it_is(
    shards: list[Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_listings, "_SAY_SECONDS", 0.0)
    said: list[str] = []
    list_shards(shards, ShardCaptions(), say=said.append)
    assert said == [f"{number} of 5 shards are listed" for number in range(1, 6)]
    list_shards(shards, ShardCaptions(), say=said.append)
    assert len(said) == 5


PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from clipkit.data import shard_listings
from clipkit.data.shard_listing import Shard
from clipkit.data.shard_samples import ShardCaptions

def list_it(shard, captions):
    os.write(1, f"{os.getpid()}\\n".encode())  # at once: two processes write to one pipe
    time.sleep(1000)

# A shell switches it off for what it starts in the background, as a whole run of the tests may be.
signal.signal(signal.SIGINT, signal.default_int_handler)
shard_listings._WORTH_PROCESSES = 0
shard_listings.usable_cores = lambda: 2
shard_listings.list_shard = list_it
shards = [Shard(Path(path), path) for path in sys.argv[1:]]
shard_listings.list_shards(shards, ShardCaptions(), say=print)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_processes_end_with_the_one_that_started_them(
    shards: list[Shard], number: signal.Signals
) -> None:
    words = [sys.executable, "-c", PROGRAM, *(shard.name for shard in shards)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True) as main:
        try:
            assert main.stdout is not None
            started = [psutil.Process(int(main.stdout.readline())) for _ in range(2)]
            # Ctrl-C reaches all of them, as from a terminal.
            os.killpg(main.pid, number) if number == signal.SIGINT else main.send_signal(number)
            assert main.wait(60) in (-number, 1)
        finally:
            main.kill()  # else leaving the block would wait for it
        _, alive = psutil.wait_procs(started, timeout=60)
        assert alive == []
