"""The gate in front of the API: keys, names, sizes, times, and the log."""

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from clipkit.server.gate import ACCESS_LOG, Gate
from clipkit.server.metrics import ServerMetrics
from clipkit.server.settings import Limits, ServerSettings
from clipkit.web.hosts import allowed_hosts
from tests.server.conftest import KEY


class Api:
    """An API that answers with the body it got, or waits until its client has gone."""

    def __init__(self, *, waits: bool = False) -> None:
        self.waits, self.was_cancelled, self.num_calls = waits, False, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.num_calls += 1
        try:
            if self.waits:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        message = await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": message["body"]})


def ask(
    api: Api,
    parts: Sequence[bytes] = (b"{}",),
    *,
    settings: ServerSettings | None = None,
    path: str = "/v1/search",
    method: str = "POST",
    is_gone: bool = False,
    is_cut: bool = False,
    is_stalled: bool = False,
    ends: bool = False,
    **headers: str,
) -> tuple[int, Any]:
    """Send one request; return the status, 0 if there was no answer, and its JSON."""
    sent: list[Message] = []
    head = {"host": "localhost", "content-type": "application/json"}
    head |= {name.replace("_", "-"): value for name, value in headers.items()}

    async def main() -> None:
        waiting: list[Message] = [
            {"type": "http.request", "body": part, "more_body": is_cut or place + 1 < len(parts)}
            for place, part in enumerate(parts)
        ]

        async def receive() -> Message:
            if waiting:
                return waiting.pop(0)
            if not is_gone:
                await asyncio.Event().wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if is_stalled:
                await asyncio.Event().wait()
            sent.append(message)

        gate = Gate(api, settings or ServerSettings(allowed_hosts("127.0.0.1")), ServerMetrics())
        scope = {
            "type": "http", "method": method, "path": path, "query_string": b"a=secret",
            "headers": [(name.encode(), value.encode()) for name, value in head.items()],
        }  # fmt: skip
        answering = asyncio.ensure_future(gate(scope, receive, send))
        if ends:
            while not api.num_calls:
                await asyncio.sleep(0)
            answering.cancel()  # as uvicorn does when its grace is over
        await asyncio.wait_for(answering, 60)

    asyncio.run(main())
    if not sent:
        return 0, None
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], json.loads(body)


def test_a_request_is_passed_on_with_its_whole_body() -> None:
    assert ask(Api(), [b'{"a"', b": 1}"]) == (200, {"a": 1})


@pytest.mark.parametrize("host", ["evil.example", "192.168.0.9", ""])
def test_under_another_name_nothing_is_answered(host: str) -> None:
    status, answer = ask(api := Api(), host=host)
    assert (status, api.num_calls) == (403, 0)
    assert "--allow-host" in answer["error"]["message"]


def test_its_health_is_told_at_any_address() -> None:
    """A probe of Kubernetes names the pod's IP address."""
    assert ask(Api(), path="/health/live", method="GET", host="10.244.1.7:8000")[0] == 200
    assert ask(Api(), path="/metrics", method="GET", host="10.244.1.7:8000")[0] == 403


def test_a_request_that_the_end_of_the_server_cuts_off_is_told_so() -> None:
    status, answer = ask(api := Api(waits=True), ends=True)
    assert (status, api.was_cancelled) == (503, True)
    assert answer["error"]["message"].endswith("send it again")


@pytest.mark.parametrize(
    "given", ["", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", KEY, f"Basic {KEY}", "Bearer \xe9"]
)
def test_without_the_key_nothing_is_answered(given: str) -> None:
    status, answer = ask(
        api := Api(), settings=ServerSettings(keys=("b" * 20, KEY)), authorization=given
    )
    assert (status, api.num_calls) == (401, 0)
    assert answer["error"]["type"] == "authentication_error"
    assert KEY not in json.dumps(answer)


def test_any_of_the_keys_will_do_under_any_name() -> None:
    settings = ServerSettings(keys=("b" * 20, KEY))
    for key in settings.keys:
        status, _ = ask(Api(), settings=settings, authorization=f"Bearer {key}", host="a.example")
        assert status == 200
    assert ask(Api(), settings=settings, path="/health/live", method="GET")[0] == 200
    assert KEY not in repr(settings)


def test_what_is_not_declared_as_json_is_refused() -> None:
    for kind in ("text/plain", "", "application/x-www-form-urlencoded"):
        assert ask(Api(), content_type=kind)[0] == 415
        assert ask(Api(), content_type=kind, path="/health/live")[0] == 200  # 405, by the routes
    assert ask(Api(), content_type="application/json; charset=utf-8")[0] == 200


SMALL = ServerSettings(allowed_hosts("127.0.0.1"), limits=Limits(max_body_bytes=10))


def test_a_body_is_counted_whatever_it_says_of_itself() -> None:
    for length in ("11", "-1", "1e3", "9" * 30):
        assert ask(api := Api(), settings=SMALL, content_length=length)[0] == 413
        assert api.num_calls == 0
    assert ask(Api(), [b"[1, 2, 3", b", 4]"], settings=SMALL)[0] == 413
    assert ask(Api(), [b"[1, 2, 34]"], settings=SMALL)[0] == 200


def test_a_body_of_too_many_values_is_refused_before_it_is_parsed() -> None:
    status, answer = ask(api := Api(), [b"[" + b"[]," * 600_000 + b"0]"])
    assert (status, api.num_calls) == (413, 0)
    assert "values" in answer["error"]["message"]


def test_bodies_of_all_have_a_limit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Limits, "max_pending_bytes", 5)
    status, answer = ask(Api(), [b"[1, 2]"])
    assert status == 503
    assert "others" in answer["error"]["message"]


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipkit.server.gate.BODY_SECONDS", 0)
    status, answer = ask(api := Api(), [b"{"], is_cut=True)
    assert (status, api.num_calls) == (408, 0)
    assert "within" in answer["error"]["message"]


def test_the_work_ends_when_the_client_has_gone() -> None:
    status, _ = ask(api := Api(waits=True), is_gone=True)
    assert (status, api.was_cancelled) == (0, True)


def test_a_client_that_does_not_receive_its_answer_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("clipkit.server.gate.SEND_SECONDS", 0)
    with caplog.at_level(logging.INFO, logger=ACCESS_LOG):
        assert ask(Api(), is_stalled=True) == (0, None)
    assert " 499 " in caplog.text


def test_one_request_too_many_is_told_to_come_again() -> None:
    settings = ServerSettings(allowed_hosts("127.0.0.1"), limits=Limits(max_requests=0))
    assert ask(Api(), settings=settings)[0] == 503
    assert ask(Api(), settings=settings, path="/health/live", method="GET")[0] == 200


def test_the_log_has_no_queries_unless_that_is_wanted(caplog: pytest.LogCaptureFixture) -> None:
    image = "A" * 5000
    body = json.dumps({"query": "my secret", "image": image}).encode()
    with caplog.at_level(logging.INFO, logger=ACCESS_LOG):
        ask(Api(), [body], path="/v1/search\n2026 forged")
        quiet = caplog.messages.pop()
        settings = ServerSettings(allowed_hosts("127.0.0.1"), logs_queries=True)
        ask(Api(), [body], settings=settings)
        loud = caplog.messages.pop()
    assert quiet.startswith(r"POST /v1/search\n2026 forged 200 ")
    assert "secret" not in quiet
    assert "my secret" in loud
    assert "a=secret" in loud
    assert image not in loud
    assert "(5000 characters)" in loud


def test_there_are_no_websockets() -> None:
    sent: list[Message] = []

    async def main() -> None:
        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {"type": "websocket.connect"}

        await Gate(Api(), ServerSettings(), ServerMetrics())({"type": "websocket"}, receive, send)

    asyncio.run(main())
    assert sent == [{"type": "websocket.close", "code": 1008}]
