"""Milvus servers for tests: one that the tests of a process share, and others of their own."""

import os
from collections.abc import Callable, Iterator, Mapping

import pytest
from filelock import FileLock

from tests.search.store.milvus_server import MilvusServer, why_not_installed

StartMilvus = Callable[..., MilvusServer]


@pytest.fixture(scope="session")
def start_milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartMilvus]:
    """Starts a server, which is stopped at the end; skips the test where none is installed."""
    if reason := why_not_installed():
        pytest.skip(reason)
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    started: list[MilvusServer] = []

    def start(settings: Mapping[str, object] | None = None) -> MilvusServer:
        server = MilvusServer(tmp_path_factory.mktemp("milvus") / "server", settings)
        started.append(server)
        # One after the other, in all processes: each looks for free ports of its own.
        with FileLock(shared / "milvus.lock"):
            server.start()
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def milvus_server(start_milvus: StartMilvus) -> MilvusServer:
    """A running server, for tests that leave it running."""
    return start_milvus()
