"""The Milvus server that the tests of a process share."""

from collections.abc import Iterator

import pytest
from filelock import FileLock

from tests.search.store.milvus_server import MilvusServer, why_not_installed


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
    """A running server; skips the test where none is installed."""
    if reason := why_not_installed():
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("milvus")
    server = MilvusServer(directory / "server")
    # One after the other: each looks for free ports of its own.
    with FileLock(directory.parent.parent / "milvus.lock"):
        server.start()
    yield server
    server.stop()
