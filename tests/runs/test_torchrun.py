"""Runs that torchrun starts: on shards from a web server, one process killed, started again."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.runs.clipkit_process import run_ranks
from tests.runs.conftest import WriteRun, final_weights, save_shards

pytestmark = pytest.mark.slow

DIES = ("-m", "tests.runs.dying_rank")
EACH_STEP = ("--set", "watch.checkpoint_minutes=0")
LOST = "clipkit: another process of this run has ended, and this one ends with it"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def shards(captions_folder: Path, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The settings of data for eight shards of five pairs each, on a web server."""
    folder = tmp_path / "served"
    folder.mkdir()
    save_shards(folder, captions_folder, 5)

    def handle(*arguments: Any) -> _Quiet:
        return _Quiet(*arguments, directory=str(folder))

    with ThreadingHTTPServer(("127.0.0.1", 0), handle) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/{{0..7}}.tar"
        yield {"train": address, "stream": True, "samples_per_epoch": 40}
        server.shutdown()


def test_a_killed_process_ends_all_with_one_message_and_the_run_resumes(
    write_run: WriteRun, shards: dict[str, Any], captions_folder: Path
) -> None:
    data = shards | {"validation": str(captions_folder)}
    whole, killed = write_run("whole", data=data), write_run("killed", data=data)
    first, second = run_ranks(["train", whole], whole.parent, world_size=2)
    assert (first.status, second.status) == (0, 0), first.err + second.err

    ended = torchrun(*DIES, 1, 7, "train", killed, *EACH_STEP)
    resumed = torchrun("-m", "clipkit", "train", killed, *EACH_STEP)

    assert ended.returncode == 1 and ended.stdout == ""
    assert re.findall("clipkit: .*ends with it", ended.stderr) == [LOST]
    assert "exitcode  : -9" in ended.stderr  # torchrun names the one that was killed
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stderr.count("resuming after step 6 of 10") == 1
    assert final_weights(killed) == final_weights(whole)


def test_the_message_comes_though_torchrun_ends_the_process_meanwhile(
    write_run: WriteRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEAVES_SLOWLY", "1")
    ended = torchrun(*DIES, 1, 2, "train", write_run("killed"))
    assert ended.returncode == 1
    assert re.findall("clipkit: .*ends with it", ended.stderr) == [LOST]


@pytest.mark.parametrize(("rank", "sharding"), [(1, "ddp"), (0, "fsdp")])
def test_processes_that_are_started_again_resume(
    write_run: WriteRun, shards: dict[str, Any], captions_folder: Path, rank: int, sharding: str
) -> None:
    changes = {
        "data": shards | {"validation": str(captions_folder)},
        "compute": {"sharding": sharding},
    }
    whole, killed = write_run("whole", **changes), write_run("killed", **changes)
    first, second = run_ranks(["train", whole], whole.parent, world_size=2)
    assert (first.status, second.status) == (0, 0), first.err + second.err

    ended = torchrun(*DIES, rank, 7, "train", killed, *EACH_STEP, options=("--max-restarts=1",))

    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("resuming after step 6 of 10") == 1
    assert ended.stdout.count("10 steps on 40 pairs") == 1
    assert final_weights(killed) == final_weights(whole)


def torchrun(*words: object, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run a module of Python on two processes, as one machine does that has no others."""
    program = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    command = [*program, *options, *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
