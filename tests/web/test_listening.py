"""Sockets that are bound, or are not."""

import socket

import pytest

pytest.importorskip("uvicorn", reason="what serves needs it")

from clipkit.errors import InputError
from clipkit.web.listening import bind, shown_address


def test_a_free_port_is_bound_and_shown() -> None:
    with bind("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        assert shown_address("127.0.0.1", bound) == f"http://localhost:{port}"
        assert shown_address("0.0.0.0", bound) == f"http://localhost:{port}"
        assert shown_address("photos.example", bound) == f"http://photos.example:{port}"


def test_a_port_that_is_taken_is_told_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = other.getsockname()[1]
        with pytest.raises(
            InputError, match=rf"the API cannot be served at .* port {number} .*--port"
        ):
            bind("127.0.0.1", number, what="the API")


def test_a_port_that_no_port_can_be_is_told() -> None:
    with pytest.raises(InputError, match="ports end at 65535"):
        bind("127.0.0.1", 65536)
