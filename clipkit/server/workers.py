"""Running a server until it is ended: one process, or several behind one port."""

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from clipkit.encoder.loading import load
from clipkit.encoder.spec import EncoderSpec
from clipkit.errors import CheckpointError, SpaceMismatchError
from clipkit.search.library import PhotoLibrary
from clipkit.server.gate import ACCESS_LOG
from clipkit.server.metrics import DIRECTORY
from clipkit.server.serving import Load, Served
from clipkit.server.settings import ServerSettings
from clipkit.web.listening import HeadTimeoutProtocol

MAX_CONNECTIONS = 2000
_HANG_SECONDS = 30  # after which a worker that says nothing is replaced

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(message)s"}},
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "plain"},
    },
    "loggers": {
        "uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
        "asyncio": {"handlers": ["stderr"], "level": "ERROR", "propagate": False},
        "clipkit": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
        "clipkit.server": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
    },
    "root": {"level": "CRITICAL"},  # MCP's session would say there what was asked
}


def serve_here(settings: ServerSettings, load_served: Load, bound: socket.socket) -> None:
    """Serve in this process until SIGTERM or Ctrl-C; requests under way are answered.

    Args:
        settings: Of the server.
        load_served: Loads what is served.
        bound: Where.

    Raises:
        Exception: What loading raised.
    """
    from clipkit.server.app import make_app

    failures: list[Exception] = []

    def fail(error: Exception) -> None:
        failures.append(error)
        signal.raise_signal(signal.SIGTERM)

    app = make_app(settings, load_served, fail)
    with _signals_survived():
        uvicorn.Server(_config(lambda: app, settings)).run(sockets=[bound])
    if failures:
        raise failures[0]


def serve_in_workers(
    settings: ServerSettings,
    spec: EncoderSpec,
    bound: socket.socket,
    *,
    num_workers: int,
    folder: str | None = None,
    store: str | None = None,
) -> None:
    """Serve in several processes behind one port until SIGTERM or Ctrl-C.

    One that dies or hangs is replaced. Their numbers for Prometheus are added up.

    Args:
        settings: Of the server.
        spec: The model, which every worker loads for itself.
        bound: Where.
        num_workers: How many, at least 1.
        folder: The library; None with a store, or without one.
        store: Its URL.

    Raises:
        CheckpointError: If a worker cannot load the model or open the library.
    """
    app = WorkerApp(settings, spec, folder, store)
    with _metrics_shared(), _signals_survived():
        config = _config(app, settings, workers=num_workers)
        supervisor = _Supervisor(config, sockets=[bound])
        supervisor.run()
    if supervisor.has_failed:
        raise CheckpointError("a worker could not load what is served; the line above says why")


@dataclass(frozen=True)
class WorkerApp:
    """Makes the application of a worker; it is sent to the worker's process."""

    settings: ServerSettings
    spec: EncoderSpec
    folder: str | None
    store: str | None

    def __call__(self) -> ASGIApp:
        """Return the application."""
        from clipkit.server.app import make_app

        threading.Thread(target=_end_with_parent, daemon=True).start()
        return make_app(self.settings, self._load, _end_worker, loads_first=True)

    def _load(self) -> Served:
        spec = self.spec
        encoder = load(  # as the spec does, but for what is kept of texts
            spec.name,
            device=spec.device,
            precision=spec.precision,
            engine=spec.engine,
            cache_texts="memory",
        )
        if encoder.space_id != spec.space_id:
            raise SpaceMismatchError(
                f"{spec.name} has changed since the server was started: start it again"
            )
        return Served(encoder, open_library(self.folder, self.store, encoder))


def open_library(folder: str | None, store: str | None, encoder: Any) -> PhotoLibrary | None:
    """Return the library of a folder or a store, with its encoder; None without either."""
    if store is not None:
        return PhotoLibrary.open(encoder=encoder, store=store)
    return None if folder is None else PhotoLibrary.open_nearest(folder, encoder)


class _Supervisor(Multiprocess):
    """uvicorn's, which also tells Prometheus' client of workers that have died."""

    has_failed = False
    """Whether a worker ended because it has nothing to serve."""

    def keep_subprocess_alive(self) -> None:
        """Replace workers that have died or hang."""
        before = {process.pid for process in self.processes}
        super().keep_subprocess_alive()
        self.has_failed |= any(each.exitcode == STARTUP_FAILURE for each in self.processes)
        for gone in before - {process.pid for process in self.processes}:
            logging.getLogger(ACCESS_LOG).warning("worker %s has died and was replaced", gone)
            if gone is not None:
                _forget_worker(Path(os.environ[DIRECTORY]), gone)


def _forget_worker(directory: Path, pid: int) -> None:
    """Remove what is only true while a worker lives; what it has counted stays."""
    for file in directory.glob(f"gauge_live*_{pid}.db"):
        file.unlink(missing_ok=True)


def _config(
    app: Callable[[], ASGIApp], settings: ServerSettings, workers: int = 1
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=True,
        workers=workers,
        http=HeadTimeoutProtocol,
        ws="none",
        lifespan="on",
        log_config=LOGGING,
        access_log=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=int(settings.grace_seconds),
        timeout_worker_healthcheck=_HANG_SECONDS,
    )


def _end_worker(error: Exception) -> None:
    """End a worker that has nothing to serve; the others end too."""
    logging.getLogger(ACCESS_LOG).error("clipkit: %s", error)
    os._exit(STARTUP_FAILURE)


def _end_with_parent() -> None:
    """End a worker whose supervisor was killed: it would hold the port, and nobody could end it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def _metrics_shared() -> Iterator[None]:
    """Let the workers keep their numbers where each of them can read those of all."""
    with tempfile.TemporaryDirectory(prefix="clipkit-metrics-") as directory:
        os.environ[DIRECTORY] = directory
        try:
            yield
        finally:
            del os.environ[DIRECTORY]


@contextlib.contextmanager
def _signals_survived() -> Iterator[None]:
    """Let the process go on after the server has ended by a signal, which uvicorn raises again."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
