"""Oversized, malformed and hostile requests of a server that runs: 4xx, and it goes on serving."""

import base64
import json
import select
import socket
from typing import Any

import httpx
import pytest

from tests.hostile_images import bombs, no_images
from tests.server.conftest import SECONDS, RunningServer, data_url

pytestmark = pytest.mark.slow

JSON = {"Content-Type": "application/json"}


def send(
    server: RunningServer, body: bytes, path: str = "/v1/search", **headers: str
) -> httpx.Response:
    """Send bytes as JSON."""
    given = JSON | {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(f"{server.address}{path}", content=body, headers=given, timeout=SECONDS)


def check_refused(answer: httpx.Response, *statuses: int) -> str:
    """Return the sentence of a refusal; the server's own folders are not in it."""
    assert answer.status_code in (statuses or range(400, 500)), answer.text
    message = str(answer.json()["error"]["message"])
    assert len(message) > 20
    assert "/work" not in message and "Traceback" not in message
    return message


def check_still_serves(server: RunningServer) -> None:
    answer = server.post("/v1/search", {"query": "a cat", "k": 1})
    assert answer.json()["hits"][0]["path"] == "cat.jpg"


BODIES = {
    "nothing": b"",
    "no JSON": b"{'query': 'a'}",
    "cut off": b'{"query": "a',
    "no object": b"[]",
    "a number": b"1",
    "null": b"null",
    "no UTF-8": b'{"query": "\xff"}',
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"query":' * 50_000,
    "deep in a field": b'{"query": "a", "parts": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "a lone surrogate": b'{"query": "\\ud800"}',
    "a huge number": b'{"query": "a", "k": ' + b"9" * 5000 + b"}",
    "a number beyond": b'{"query": "a", "k": 1e999}',
    "NaN": b'{"query": "a", "min_relevance": NaN}',
    "Infinity": b'{"query": "a", "diversity": Infinity}',
    "negative": b'{"query": "a", "k": -1}',
    "zero": b'{"query": "a", "k": 0}',
    "a fraction": b'{"query": "a", "k": 1.5}',
    "a number in quotes": b'{"query": "a", "k": "1"}',
    "true": b'{"query": "a", "k": true}',
    "too many": b'{"query": "a", "k": 1001}',
    "too long": json.dumps({"query": "a" * 8193}).encode(),
    "empty": b'{"query": ""}',
    "blank": b'{"query": "  "}',
    "an unknown field": b'{"query": "a", "kk": 1}',
    "no such date": b'{"query": "a", "filters": {"after": "2024-02-31"}}',
    "a date in words": b'{"query": "a", "filters": {"after": "yesterday"}}',
    "weights that cancel out": b'{"query": "a", "parts": [{"text": "a", "weight": -1}]}',
    "two things in a part": b'{"parts": [{"text": "a", "path": "cat.jpg"}]}',
}


@pytest.mark.parametrize("name", BODIES)
def test_a_malformed_request_gets_a_sentence(server: RunningServer, name: str) -> None:
    check_refused(send(server, BODIES[name]), 400, 413, 422)
    check_still_serves(server)


@pytest.mark.parametrize(
    "given",
    [[1, 2], [[1, 2]], [], "", [""], {"image": "x"}, [{"image": 1}], [None], 3,
     ["a", {"text": "b"}], [{"image": "http://127.0.0.1:1/a.jpg"}], [{"text": "a" * 9000}],
     ["a" * 9000], ["a"] * 2049],
    ids=lambda given: str(given)[:40],
)  # fmt: skip
def test_what_cannot_be_embedded_gets_a_sentence(server: RunningServer, given: Any) -> None:
    check_refused(server.post("/v1/embeddings", {"input": given}), 422)


def test_nothing_is_fetched_and_no_file_is_opened(server: RunningServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        there = f"http://127.0.0.1:{listener.getsockname()[1]}/x.jpg"
        for text in (
            there,
            there.upper(),
            "file:///etc/passwd",
            "/etc/passwd",
            "//127.0.0.1/x.jpg",
        ):
            part = {"type": "image_url", "image_url": {"url": text}}
            for path, body in (
                ("/v1/embeddings", {"input": [{"image": text}]}),
                ("/v1/embeddings", {"input": text, "modality": "image"}),
                ("/v1/embeddings", {"messages": [{"role": "user", "content": [part]}]}),
                ("/v1/similar", {"image": text}),
                ("/v1/similar", {"path": text}),
                ("/v1/search", {"image": text}),
                ("/v1/classify", {"image": text, "labels": ["a", "b"]}),
                ("/v1/context", {"image": text}),
            ):
                check_refused(server.post(path, body), 422)
            # As words they are words.
            assert server.post("/v1/search", {"query": text}).status_code == 200
        assert not select.select([listener], [], [], 0)[0], "somebody was sent to fetch"


def test_what_is_no_image_fails_only_for_who_sent_it(server: RunningServer) -> None:
    for name, content in {**no_images(), **bombs()}.items():
        text = f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
        message = check_refused(server.post("/v1/similar", {"image": text}), 422)
        assert message, name
    check_still_serves(server)


def test_a_request_that_is_too_large_is_not_read(server: RunningServer) -> None:
    body = b'{"query": "' + b"a" * 40_000_000 + b'"}'
    assert "32 MB" in check_refused(send(server, body), 413)

    def parts() -> Any:
        for _ in range(40):
            yield b"a" * 1_000_000

    try:
        answer = httpx.post(
            f"{server.address}/v1/search", content=parts(), headers=JSON, timeout=SECONDS
        )
    except httpx.WriteError:  # it was closed while more was being sent
        pass
    else:
        check_refused(answer, 413)
    check_still_serves(server)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
        b"Content-Length: 9\r\n\r\n{}",
        b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=range(7),
)
def test_what_is_hardly_http_is_refused(server: RunningServer, head: bytes) -> None:
    port = int(server.address.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
        connection.sendall(head)
        answer = connection.recv(65536)
    assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), answer
    check_still_serves(server)


def test_clients_that_leave_hold_nothing_up(server: RunningServer) -> None:
    port = int(server.address.rpartition(":")[2])
    body = json.dumps({"input": [data_url()] * 8, "modality": "image"}).encode()
    head = (
        f"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    for size in (0, len(body) // 2, len(body)):
        with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
            connection.sendall(head.encode() + body[:size])
    check_still_serves(server)


def test_methods_and_addresses_that_are_not_there_are_told(server: RunningServer) -> None:
    for method, path, status in (
        ("GET", "/v1/search", 405), ("DELETE", "/v1/models", 405), ("PUT", "/health/live", 405),
        ("GET", "/", 404), ("GET", "/docs", 404), ("GET", "/v1/../../etc/passwd", 404),
        ("GET", "/v1/models/..%2f..%2fetc%2fpasswd", 404), ("GET", "/mcp", 405),
    ):  # fmt: skip
        check_refused(httpx.request(method, f"{server.address}{path}", timeout=SECONDS), status)
