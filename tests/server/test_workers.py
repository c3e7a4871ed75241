"""The end of a server, and several workers behind one port."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import psutil
import pytest

from clipkit.server.workers import _forget_worker
from tests.conftest import SAMPLES
from tests.server.conftest import SECONDS, RunningServer, served

pytestmark = pytest.mark.slow

TEXTS = [
    f"photograph number {number} of a long series, with many words in it" for number in range(512)
]


def metric(server: RunningServer, name: str, label: str = "") -> float:
    """Return the sum of a metric over its labels, or of those with one label."""
    text = httpx.get(f"{server.address}/metrics", timeout=SECONDS).text
    found = re.findall(r"^(\w+)(\{.*\})? (\S+)$", text, re.MULTILINE)
    return sum(float(value) for each, labels, value in found if each == name and label in labels)


def test_sigterm_lets_requests_under_way_be_answered(tmp_path: Path) -> None:
    answers: list[httpx.Response] = []
    with served(tmp_path, "--grace-seconds", "600") as server:

        def ask() -> None:
            answers.append(server.post("/v1/embeddings", {"input": TEXTS}))

        asking = threading.Thread(target=ask)
        asking.start()
        server.poll(lambda: metric(server, "clipkit_requests_under_way") >= 2)
        server.process.send_signal(signal.SIGTERM)
        asking.join(SECONDS)
        assert server.process.wait(SECONDS) == 0
    assert [answer.status_code for answer in answers] == [200]
    assert len(answers[0].json()["data"]) == len(TEXTS)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.address}/health/live")


def test_ctrl_c_ends_it_as_well(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(SECONDS) == 0
    assert not any("Traceback" in line for line in server.lines)


def test_while_it_drains_it_is_not_ready_and_answers(tmp_path: Path) -> None:
    with served(tmp_path, "--drain-seconds", "3600") as server:
        server.process.send_signal(signal.SIGTERM)
        ready = f"{server.address}/health/ready"
        server.poll(lambda: httpx.get(ready, timeout=SECONDS).status_code == 503)
        assert httpx.get(ready, timeout=SECONDS).json() == {"status": "ending"}
        assert httpx.get(f"{server.address}/health/live").status_code == 200
        assert server.post("/v1/embeddings", {"input": "a cat"}).status_code == 200
        server.process.send_signal(signal.SIGTERM)  # once more: now
        assert server.process.wait(SECONDS) == 0


def workers_of(server: RunningServer) -> set[int]:
    """Return the processes that serve: those that have the model in memory."""
    found = set()
    for child in psutil.Process(server.process.pid).children():
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            if "spawn_main" in " ".join(child.cmdline()):
                found.add(child.pid)
    return found


def test_two_workers_share_a_port_and_one_that_dies_is_replaced(tmp_path: Path) -> None:
    with served(tmp_path, SAMPLES, "--workers", "2") as server:
        server.poll(lambda: metric(server, "clipkit_ready_workers") == 2)
        before = workers_of(server)
        assert len(before) == 2
        for number in range(8):
            answer = server.post("/v1/search", {"query": f"a cat {number}", "k": 1})
            assert answer.json()["hits"][0]["path"]
        # Whichever worker is asked tells of both.
        assert metric(server, "clipkit_requests_total", 'route="/v1/search"') == 8
        os.kill(min(before), signal.SIGKILL)
        statuses = set()

        def is_replaced() -> bool:
            with contextlib.suppress(httpx.TransportError):  # to the one that was just killed
                statuses.add(server.post("/v1/search", {"query": "a cat"}).status_code)
            is_there = len(workers_of(server) - before) == 1
            return is_there and metric(server, "clipkit_ready_workers") == 2

        server.poll(is_replaced)
        assert statuses == {200}  # the other one answers while the new one loads the model
        assert server.post("/v1/search", {"query": "a cat"}).status_code == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(SECONDS) == 0
    assert any("was replaced" in line for line in server.lines)
    assert not any("Traceback" in line for line in server.lines)


def test_workers_end_with_their_supervisor(tmp_path: Path) -> None:
    with served(tmp_path, "--workers", "2") as server:
        server.poll(lambda: metric(server, "clipkit_ready_workers") == 2)
        workers = [psutil.Process(pid) for pid in workers_of(server)]
        server.process.kill()
        gone, alive = psutil.wait_procs(workers, timeout=SECONDS)
    assert (len(gone), alive) == (2, [])


def test_of_a_dead_worker_what_it_has_counted_stays(tmp_path: Path) -> None:
    names = ("counter_7.db", "gauge_livesum_7.db", "gauge_livesum_77.db", "histogram_7.db")
    for name in names:
        (tmp_path / name).touch()
    _forget_worker(tmp_path, 7)
    assert {path.name for path in tmp_path.iterdir()} == set(names) - {"gauge_livesum_7.db"}


PROGRAM = """
import dataclasses
import clipkit
from clipkit.server import workers
from clipkit.server.settings import ServerSettings
from clipkit.web.listening import bind

workers._HANG_SECONDS = 10  # one that dies before it answers for the first time is noticed then

if __name__ == "__main__":
    spec = dataclasses.replace(clipkit.load().spec, space_id="of other weights")
    try:
        workers.serve_in_workers(ServerSettings(), spec, bind("127.0.0.1", 0), num_workers=2)
    except clipkit.CheckpointError as error:
        print(error)
"""


def test_workers_that_have_nothing_to_serve_end_the_server(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, timeout=SECONDS
    )
    assert done.stdout == "a worker could not load what is served; the line above says why\n"
    assert "starter has changed since the server was started" in done.stderr
