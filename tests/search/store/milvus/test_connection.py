"""Calls that are tried again, and errors as words; with a client that fails as told."""

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from clipkit.errors import LibraryError, MissingExtraError, NotIndexedError
from clipkit.search.store.milvus.address import MilvusAddress, read_address
from clipkit.search.store.milvus.connection import MilvusConnection, NoCollectionError

ADDRESS = read_address("milvus://host/photos", {})


class RefusedError(Exception):
    """As pymilvus raises it."""

    __module__ = "pymilvus.exceptions"

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class LostError(Exception):
    """As gRPC raises it."""

    __module__ = "grpc._channel"

    def __init__(self, name: str = "UNAVAILABLE") -> None:
        super().__init__(name)
        self._name = name

    def code(self) -> SimpleNamespace:
        return SimpleNamespace(name=self._name)


class Client:
    """Fails with each of some errors, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    def query(self, **arguments: Any) -> dict[str, Any]:
        if self.errors:
            raise self.errors.pop(0)
        return arguments

    def close(self) -> None: ...


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def _connection(
    client: Client, clock: Clock, *, notes: Callable[[str], None] | None = None
) -> MilvusConnection:
    return MilvusConnection(
        ADDRESS,
        patience=60,
        on_retry=notes,
        sleep=clock.sleep,
        clock=lambda: clock.now,
        make_client=lambda _: client,
    )


@pytest.mark.parametrize(
    "error",
    [
        LostError("UNAVAILABLE"),
        LostError("DEADLINE_EXCEEDED"),
        RefusedError(101, "collection not loaded"),
        RefusedError(1, "service not ready"),
        RefusedError(2, "Fail connecting to server on host:19530"),
        RefusedError(1, "[query] Retry timeout: 30s"),
    ],
)
def test_a_lost_connection_is_tried_again_with_longer_and_longer_pauses(error: Exception) -> None:
    clock, told = Clock(), list[str]()
    client = Client(*[error] * 6)
    answer = _connection(client, clock, notes=told.append).call("query", limit=3)
    assert answer["limit"] == 3
    assert answer["collection_name"] == "photos"
    assert clock.slept == [0.5, 1, 2, 4, 5, 5]
    assert len(told) == 6
    assert all("milvus://host/photos does not answer" in line for line in told)


def test_patience_ends_with_what_to_do() -> None:
    clock = Clock()
    with pytest.raises(LibraryError, match="no Milvus server answers at milvus://host/photos"):
        _connection(Client(*[LostError()] * 1000), clock).call("query")
    assert 50 < clock.now <= 60


def test_a_collection_that_stays_unloaded_is_told_from_a_server_that_is_away() -> None:
    refused = RefusedError(101, "collection not loaded")
    with pytest.raises(LibraryError, match=r"building its index.*clipkit index FOLDER --store"):
        _connection(Client(*[refused] * 1000), Clock()).call("query")


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            RefusedError(100, "can't find collection"),
            NotIndexedError,
            "clipkit index FOLDER --store",
        ),
        (RefusedError(65535, "auth check failure"), LibraryError, "CLIPKIT_MILVUS_TOKEN"),
        (LostError("UNAUTHENTICATED"), LibraryError, "CLIPKIT_MILVUS_TOKEN"),
        (RefusedError(65535, "cannot parse\n expression"), LibraryError, "cannot parse expression"),
    ],
)
def test_any_other_error_is_not_tried_again(
    error: Exception, kind: type[Exception], message: str
) -> None:
    clock = Clock()
    with pytest.raises(kind, match=message):
        _connection(Client(error), clock).call("query")
    assert clock.slept == []


def test_a_mistake_in_a_call_is_no_error_of_the_server() -> None:
    with pytest.raises(ZeroDivisionError):
        _connection(Client(ZeroDivisionError()), Clock()).call("query")


def test_no_collection_is_told_from_other_errors() -> None:
    with pytest.raises(NoCollectionError):
        _connection(Client(RefusedError(100, "collection not found")), Clock()).call("query")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RefusedError(2, "Fail connecting to server on host:19530"), "no Milvus server answers"),
        (LostError("UNAUTHENTICATED"), "CLIPKIT_MILVUS_TOKEN"),
    ],
)
def test_where_no_connection_can_be_made_it_says_so_at_once(error: Exception, message: str) -> None:
    def fail(_: MilvusAddress) -> Any:
        raise error

    clock = Clock()
    connection = MilvusConnection(ADDRESS, sleep=clock.sleep, make_client=fail)
    with pytest.raises(LibraryError, match=message):
        connection.call("query")
    assert clock.slept == []


@pytest.mark.parametrize(
    ("url", "absent", "extra"),
    [
        ("milvus://host/photos", "pymilvus", "milvus"),
        ("milvus:///photos.db", "milvus_lite", "milvus-lite"),
    ],
)
def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, url: str, absent: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, "pymilvus", SimpleNamespace(MilvusClient=None))
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(MissingExtraError) as caught:
        MilvusConnection(read_address(url, {})).client()
    assert caught.value.extra == extra
