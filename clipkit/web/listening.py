"""Listening sockets, and HTTP connections that do not wait for ever for a request."""

import asyncio
import socket

from uvicorn.protocols.http.h11_impl import H11Protocol

from clipkit.errors import InputError
from clipkit.web.hosts import LOCAL_NAMES, WILDCARDS

FIRST_PORT, NUM_PORTS = 7860, 100
HEAD_SECONDS = 60  # until the head of a request has been received


def bind(host: str, port: int | None, *, what: str = "the page") -> socket.socket:
    """Return a socket that listens at an address.

    Args:
        host: An address of this machine, or a name of one.
        port: The port; None for the first free one from 7860 on.
        what: What is served there, for the message.

    Returns:
        The socket.

    Raises:
        InputError: If it cannot be bound.
    """
    try:
        return _bind(host, port)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "ports end at 65535"
        where = host if port is None else f"{host}, port {port}"
        raise InputError(
            f"{what} cannot be served at {where} ({reason}): give another --port, or --host"
        ) from error


def _bind(host: str, port: int | None) -> socket.socket:
    family, *_, address = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
    ports = range(FIRST_PORT, FIRST_PORT + NUM_PORTS) if port is None else [port]
    for number in ports:
        # Only a socket that says that it is TCP's sends at once; others wait 40 ms an answer.
        bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((address[0], number, *address[2:]))
            bound.listen()  # clients that come before the server runs wait
            return bound
        except (OSError, OverflowError):
            bound.close()
            if number == ports[-1]:
                raise
    raise AssertionError("there is at least one port")


def shown_address(host: str, bound: socket.socket) -> str:
    """Return the address of a server for programs of this machine."""
    shown = "localhost" if host in LOCAL_NAMES | WILDCARDS else host
    return f"http://{shown}:{bound.getsockname()[1]}"


class HeadTimeoutProtocol(H11Protocol):
    """HTTP/1.1 that closes a connection whose request head has not come after HEAD_SECONDS."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request."""
        super().connection_made(transport)
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        """Receive a part of a request."""
        super().data_received(data)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        super().connection_lost(exc)
        self._cancel_timer()

    def _start_timer(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._cancel_timer()
        elif self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self.timeout_keep_alive_handler)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
