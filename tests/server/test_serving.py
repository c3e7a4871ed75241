"""A worker that loads, fails to load, and is asked to end."""

import asyncio
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

import clipkit
from clipkit.server.metrics import ServerMetrics
from clipkit.server.refusals import RefusedError
from clipkit.server.serving import Served, Serving
from clipkit.server.settings import ServerSettings


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


@pytest.mark.parametrize("seconds", [0.0, 0.001])
def test_asked_to_end_it_is_not_ready_first(starter: clipkit.Encoder, seconds: float) -> None:
    async def main() -> None:
        ended = asyncio.Event()
        before = signal.signal(signal.SIGTERM, lambda *_: ended.set())
        kept = signal.getsignal(signal.SIGINT)
        try:
            serving = worker(lambda: Served(starter), drain_seconds=seconds)
            serving.end_at_signals()
            signal.raise_signal(signal.SIGTERM)
            assert serving.phase == "ending"
            assert ended.is_set() is (seconds == 0)
            await asyncio.wait_for(ended.wait(), 60)
        finally:
            signal.signal(signal.SIGTERM, before)
            signal.signal(signal.SIGINT, kept)

    asyncio.run(main())
