"""A worker from its start to its end: loading the model, being ready, draining."""

import asyncio
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Literal, NamedTuple

from anyio.to_thread import run_sync

from clipkit.encoder.encoder import Encoder
from clipkit.search.library import PhotoLibrary
from clipkit.server.metrics import ServerMetrics
from clipkit.server.operations import Operations
from clipkit.server.refusals import RefusedError
from clipkit.server.served_library import ServedLibrary
from clipkit.server.served_model import ServedModel
from clipkit.server.settings import ServerSettings


class Served(NamedTuple):
    """What is served."""

    encoder: Encoder
    library: PhotoLibrary | None = None  # with that encoder


Load = Callable[[], Served]
"""Called in a thread, once the worker answers requests for its health."""

Phase = Literal["loading", "ok", "ending"]


class Serving:
    """The state of one worker. To be used in one event loop.

    Args:
        settings: Of the server.
        load: Loads what is served.
        fail: Called with what loading raised, after which the process is to end.
        metrics: Told whether the worker is ready.
    """

    def __init__(
        self,
        settings: ServerSettings,
        load: Load,
        fail: Callable[[Exception], None],
        metrics: ServerMetrics,
    ) -> None:
        self._settings = settings
        self._load = load
        self._fail = fail
        self._metrics = metrics
        self._operations: Operations | None = None
        self.phase: Phase = "loading"

    @property
    def operations(self) -> Operations:
        """What answers requests.

        Raises:
            RefusedError: If the model is not loaded yet.
        """
        if self._operations is None:
            raise RefusedError(
                503,
                "the model is being loaded: ask again in a second, or wait for /health/ready",
                "loading",
                {"Retry-After": "1"},
            )
        return self._operations

    async def start(self) -> None:
        """Load what is served and compute with it once; then the worker is ready."""
        try:
            served = await run_sync(self._load, abandon_on_cancel=True)
            served.encoder.max_pixels = self._settings.limits.max_pixels
            model = ServedModel(served.encoder, self._metrics)
            library = None if served.library is None else ServedLibrary(served.library)
            await model.warm_up()
        except Exception as error:  # noqa: BLE001 - whoever started the server is told
            self._fail(error)
            return
        self._operations = Operations(model, library, self._settings.limits)
        if self.phase == "loading":
            self.phase = "ok"
            self._metrics.set_ready(is_ready=True)

    def end_at_signals(self) -> None:
        """Say "not ready" as soon as the process is asked to end, and go on for the drain time.

        Called where the server's own handlers are in place; they end it afterwards. Only a main
        thread gets signals.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._drain_before(signal.getsignal(number), loop))

    def close(self) -> None:
        """End the threads, once all requests are answered."""
        self._set_ending()
        if self._operations is not None:
            self._operations.model.close()

    def _drain_before(
        self, end: object, loop: asyncio.AbstractEventLoop
    ) -> Callable[[int, FrameType | None], None]:
        def handle(number: int, frame: FrameType | None) -> None:
            is_again = self.phase == "ending"
            self._set_ending()
            if not callable(end):
                return
            if is_again or not self._settings.drain_seconds:
                end(number, frame)
            else:
                loop.call_soon_threadsafe(
                    loop.call_later, self._settings.drain_seconds, end, number, None
                )

        return handle

    def _set_ending(self) -> None:
        self.phase = "ending"
        self._metrics.set_ready(is_ready=False)
