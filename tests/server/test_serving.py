"""A worker that loads, fails to load, and is asked to end."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

import clipkit
from clipkit.server.metrics import ServerMetrics
from clipkit.server.refusals import RefusedError
from clipkit.server.serving import Served, Serving
from clipkit.server.settings import ServerSettings
from tests.server.conftest import SECONDS


def worker(
    load: Callable[[], Served], failures: list[Exception] | None = None, **settings: Any
) -> Serving:
    kept = [] if failures is None else failures
    return Serving(ServerSettings(**settings), load, kept.append, ServerMetrics())


def phase_of(serving: Serving) -> str:
    """Return the phase, which changes meanwhile: mypy thinks that it stays as it was compared."""
    return serving.phase


def test_it_is_ready_once_the_model_is_loaded(starter: clipkit.Encoder) -> None:
    may_load = threading.Event()
    before = starter.max_pixels

    def load() -> Served:
        assert may_load.wait(60)
        return Served(starter)

    async def main() -> None:
        serving = worker(load)
        starting = asyncio.ensure_future(serving.start())
        assert phase_of(serving) == "loading"
        with pytest.raises(RefusedError, match="being loaded") as caught:
            _ = serving.operations
        assert caught.value.status == 503
        may_load.set()
        await starting
        assert phase_of(serving) == "ok"
        assert serving.operations.models()["data"][0]["id"] == "starter"
        serving.close()
        assert phase_of(serving) == "ending"

    asyncio.run(main())
    starter.max_pixels = before


def test_what_loading_raises_is_told() -> None:
    failures: list[Exception] = []

    def load() -> Served:
        raise clipkit.CheckpointError("the weights are damaged")

    async def main() -> None:
        serving = worker(load, failures)
        await serving.start()
        assert serving.phase == "loading"

    asyncio.run(main())
    assert [str(error) for error in failures] == ["the weights are damaged"]


ASKED_TO_END = """
import asyncio, signal, sys
from tests.server.test_serving import nothing_to_serve, worker

async def main():
    ended = asyncio.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    serving = worker(nothing_to_serve, drain_seconds=float(sys.argv[1]))
    serving.end_at_signals()
    print(serving.phase)
    signal.raise_signal(signal.SIGTERM)
    print(serving.phase, ended.is_set())
    await ended.wait()
    print("ended")

asyncio.run(main())
"""


def nothing_to_serve() -> Served:
    """Stand for a model that nobody waits for."""
    raise AssertionError


@pytest.mark.parametrize(("seconds", "ends_at_once"), [(0.0, True), (0.001, False)])
def test_asked_to_end_it_is_not_ready_first(seconds: float, ends_at_once: bool) -> None:
    # In a process of its own: a signal that goes wrong must not end the tests.
    command = [sys.executable, "-X", "faulthandler", "-c", ASKED_TO_END, str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert done.stdout.splitlines() == ["loading", f"ending {ends_at_once}", "ended"]
