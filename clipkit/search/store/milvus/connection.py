"""The connection to a Milvus server: calls that are tried again when it is lost, errors as words.

Every call that is made through here may be made twice with the effect of once, so it is repeated
when the connection is lost or the server is just starting, with longer and longer pauses, until
patience ends. Any other refusal is an error at once.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from clipkit.errors import LibraryError, MissingExtraError, NotIndexedError
from clipkit.search.store.milvus.address import (
    CA_VARIABLE,
    TLS_VARIABLE,
    TOKEN_VARIABLE,
    MilvusAddress,
)

PATIENCE = 120.0  # seconds: a server that was killed needs up to 40 until it answers searches
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 5.0  # seconds, doubled from one to the next
_CALL_TIMEOUT = 30.0  # seconds that one attempt may take
_CONNECT_TIMEOUT = 10.0

# https://milvus.io/docs/error_codes, those of a server that is starting or was just lost.
_NO_SUCH_COLLECTION = 100
_NOT_LOADED = 101
_STARTING = {2, 101, 103, 104, 106}  # no connection; collection or replica not ready
_STARTING_WORDS = (
    "not loaded",
    "not ready",
    "Retry timeout",
    "Retry run out",
    "no available",
    "channel not available",
    "Unavailable",
    "node offline",
    "NodeOffline",
    "has not been initialized",
    "server unavailable",
)
_LOST = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "ABORTED"}  # of gRPC
_AUTH_WORDS = ("auth check failure", "Unauthenticated", "UNAUTHENTICATED", "permission")


Item = TypeVar("Item")


class NoCollectionError(NotIndexedError):
    """There is no collection of that name."""


class MilvusConnection:
    """Calls of `pymilvus.MilvusClient` for one collection.

    The client is made at the first call.

    Args:
        address: Of the collection.
        patience: How long a lost server is waited for, seconds.
        on_retry: Called with a sentence before each pause.
        sleep: Waits.
        clock: Returns the time in seconds.
        make_client: Returns a client; None for pymilvus'.
    """

    def __init__(
        self,
        address: MilvusAddress,
        *,
        patience: float = PATIENCE,
        on_retry: Callable[[str], None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        make_client: Callable[[MilvusAddress], Any] | None = None,
    ) -> None:
        self.address = address
        self.on_retry = on_retry
        self._patience = patience
        self._sleep, self._clock = sleep, clock
        self._make_client = make_client or connect
        self._client: Any = None

    def call(self, method: str, **arguments: Any) -> Any:
        """Call a method of the client on the collection.

        Args:
            method: Its name; calling it twice must do what once does.
            **arguments: Its arguments; collection_name is that of the address unless given.

        Returns:
            What it returns.

        Raises:
            NoCollectionError: If there is no such collection.
            LibraryError: If the server refuses, or does not answer in time.
        """
        arguments.setdefault("collection_name", self.address.collection)
        arguments.setdefault("timeout", _CALL_TIMEOUT)
        start, pause = self._clock(), _FIRST_PAUSE
        while True:
            try:
                return getattr(self.client(), method)(**arguments)
            except LibraryError:
                raise
            except Exception as error:
                if not is_of_milvus(error):
                    raise
                if not is_lost(error):
                    raise self._refusal(method, error) from error
                if self._clock() - start + pause > self._patience:
                    raise self._no_answer(error) from error
                if self.on_retry:
                    self.on_retry(
                        f"{self.address} does not answer ({reason_of(error)}): trying again in "
                        f"{pause:g} s"
                    )
                self._sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def client(self) -> Any:
        """Return pymilvus' client, connected.

        Returns:
            The same one at each call.

        Raises:
            MissingExtraError: If pymilvus is not installed.
            LibraryError: If there is no server, or it refuses the token.
        """
        if self._client is None:
            try:
                self._client = self._make_client(self.address)
            except MissingExtraError:
                raise
            except Exception as error:
                if not is_of_milvus(error):
                    raise
                # pymilvus says of a token that is refused that no server is there.
                for cause in _with_causes(error):
                    if is_auth(cause):
                        raise self._refusal("connect", cause) from error
                raise self._no_answer(error) from error
        return self._client

    def wait(self, seconds: float) -> None:
        """Wait before asking again."""
        self._sleep(seconds)

    def close(self) -> None:
        """End the connection; the next call makes a new one."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _refusal(self, method: str, error: Exception) -> LibraryError:
        if _code(error) == _NO_SUCH_COLLECTION:
            return NoCollectionError(
                f"there is no collection at {self.address}: make it with  clipkit index FOLDER "
                f"--store {self.address}"
            )
        if is_auth(error):
            return LibraryError(
                f"{self.address} refuses the token: set {TOKEN_VARIABLE} to USER:PASSWORD or an "
                "API key that may read the collection, and to index also write it"
            )
        return LibraryError(f"{self.address} refuses to {method}: {reason_of(error)}")

    def _no_answer(self, error: Exception) -> LibraryError:
        if _code(error) == _NOT_LOADED:
            return LibraryError(
                f"the collection at {self.address} is not loaded: another process is building its "
                "index, or was interrupted; wait, or run  clipkit index FOLDER --store "
                f"{self.address}"
            )
        if self.address.is_file:
            return LibraryError(
                f"{self.address} cannot be opened ({reason_of(error)}): its folder must be there, "
                "only one process can have it open at a time, and it must be made by Milvus Lite"
            )
        return LibraryError(
            f"no Milvus server answers at {self.address} ({reason_of(error)}): check that it runs, "
            f"how the address is spelt, and whether it speaks TLS ({TLS_VARIABLE}, {CA_VARIABLE}); "
            "what it holds is kept, and the same command resumes there"
        )


def in_requests(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    """Yield items in order, as many at a time as one request takes, the last time what is left."""
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def connect(address: MilvusAddress) -> Any:
    """Return a client of pymilvus.

    Args:
        address: Of the collection.

    Returns:
        A `pymilvus.MilvusClient`.

    Raises:
        MissingExtraError: If it is not installed, or Milvus Lite is not for a file.
    """
    try:
        from pymilvus import MilvusClient  # only here: it takes 0.6 s, half of that for pandas
    except ImportError as error:
        raise MissingExtraError("milvus", "A store in Milvus") from error
    if address.is_file:
        try:
            import milvus_lite  # noqa: F401 - pymilvus starts it
        except ImportError as error:
            raise MissingExtraError("milvus-lite", "A store in a file of Milvus Lite") from error
    # It prints each error with its traceback; all of them are raised as well, and reported here.
    for name in ("pymilvus", "milvus_lite", "grpc._server"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    client = MilvusClient(
        uri=address.uri, db_name=address.database, timeout=_CONNECT_TIMEOUT, **address.secrets
    )
    if address.is_file:
        _load_collections(client, (address.collection, address.words_collection))
    return client


def _load_collections(client: Any, names: Sequence[str]) -> None:
    """Load those collections that a file has: no process finds them loaded there."""
    for name in names:
        # One without an index was interrupted while it was made, and cannot be loaded.
        if client.has_collection(name) and client.list_indexes(name):
            client.load_collection(name)


def is_of_milvus(error: Exception) -> bool:
    """Return whether an error comes from Milvus or from the connection to it."""
    modules = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return not modules.isdisjoint({"pymilvus", "grpc", "milvus_lite"})


def is_lost(error: Exception) -> bool:
    """Return whether the same call may do a little later: no connection, or a server starting."""
    if _status(error):
        return _status(error) in _LOST
    if is_auth(error):
        return False
    return _code(error) in _STARTING or any(word in str(error) for word in _STARTING_WORDS)


def is_auth(error: Exception) -> bool:
    """Return whether a server refuses who is asking."""
    if _status(error):
        return _status(error) in ("UNAUTHENTICATED", "PERMISSION_DENIED")
    return any(word in str(error) for word in _AUTH_WORDS)


def reason_of(error: Exception) -> str:
    """Return why a call failed, in one line."""
    if _status(error):
        return _status(error).replace("_", " ").lower()
    text = str(getattr(error, "message", "") or error)
    return " ".join(text.split())[:300]


def _with_causes(error: Exception) -> list[Exception]:
    """Return an error and those that it was raised for, each once: some lead to one another."""
    found: list[Exception] = []
    cause: BaseException | None = error
    while isinstance(cause, Exception) and cause not in found:
        found.append(cause)
        cause = cause.__cause__ or cause.__context__
    return found


def _code(error: Exception) -> int | None:
    """Return Milvus' number for an error."""
    code = getattr(error, "code", None)
    return code if isinstance(code, int) else None


def _status(error: Exception) -> str:
    """Return gRPC's name for an error, "" if it is not gRPC's."""
    code = getattr(error, "code", None)
    return str(code().name) if callable(code) else ""
