"""A server that really runs, in a process of its own, and one inside the test."""

import base64
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest

import clipkit
from tests.conftest import SAMPLES

if not all(map(find_spec, ("fastapi", "uvicorn", "prometheus_client", "mcp"))):
    collect_ignore_glob = ["test_*.py"]  # they need clipkit[server]

KEY = "0123456789abcdef-a-key-of-the-tests"
SECONDS = 120  # patience with a busy machine; nothing is expected to take a part of it


@dataclass
class RunningServer:
    """A ``clipkit serve`` in a process of its own."""

    process: "subprocess.Popen[str]"
    home: Path
    lines: list[str] = field(default_factory=list)  # of stderr
    address: str = ""
    _told: threading.Event = field(default_factory=threading.Event)

    def listen(self) -> None:
        """Read what it says, until it ends."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))
            if "the API is at  " in line:
                self.address = line.split()[-1]
                self._told.set()
        self._told.set()

    def wait_until_ready(self) -> None:
        """Return once it answers; fail with what it said if it does not."""
        assert self._told.wait(SECONDS), self.lines
        assert self.address, self.lines
        self.poll(
            lambda: httpx.get(f"{self.address}/health/ready", timeout=SECONDS).status_code == 200
        )

    def poll(self, is_so: Any) -> None:
        """Return once something is so."""
        deadline = time.monotonic() + SECONDS
        while not is_so():
            assert time.monotonic() < deadline, self.lines
            assert self.process.poll() is None, self.lines
            time.sleep(0.02)  # not to keep the server from its work

    def post(self, path: str, body: object, **options: Any) -> httpx.Response:
        """Send JSON."""
        return httpx.post(f"{self.address}{path}", json=body, timeout=SECONDS, **options)


@contextmanager
def served(home: Path, *words: object, **variables: str) -> Iterator[RunningServer]:
    """Serve at a free port, and end at the end; yield the server once it is ready."""
    command = [sys.executable, "-m", "clipkit", "serve", *map(str, words), "--port", "0"]
    environment = os.environ | {"CLIPKIT_HOME": str(home)} | variables
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    server = RunningServer(process, home)
    listener = threading.Thread(target=server.listen)
    listener.start()
    try:
        server.wait_until_ready()
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
        out, _ = process.communicate(timeout=SECONDS) if process.stdout else ("", "")
        listener.join(SECONDS)
    assert out == "", "stdout is for results"


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The samples, served without a key."""
    with served(tmp_path_factory.mktemp("home"), SAMPLES) as running:
        yield running


@pytest.fixture(scope="package")
def library(tmp_path_factory: pytest.TempPathFactory, starter: clipkit.Encoder) -> Any:
    """The samples, indexed."""
    place = tmp_path_factory.mktemp("index")
    library = clipkit.PhotoLibrary.open(SAMPLES, starter, location=place)
    library.sync()
    return library


def data_url(name: str = "cat.jpg") -> str:
    """Return a sample photograph as a data URL."""
    content = base64.b64encode((SAMPLES / name).read_bytes()).decode("ascii")
    return f"data:image/jpeg;base64,{content}"
