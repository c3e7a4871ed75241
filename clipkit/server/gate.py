"""ASGI middleware in front of the API: names, keys, sizes, times, and the access log.

A request is read whole before it is worked on, so that a slow client holds nothing but its
connection, and work ends when its client has gone.
"""

import asyncio
import hmac
import json
import logging
import time
from collections.abc import Callable

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clipkit.plain_text import visible
from clipkit.server.metrics import ServerMetrics
from clipkit.server.refusals import RefusedError, busy
from clipkit.server.settings import BODY_SECONDS, BUSY_SECONDS, SEND_SECONDS, ServerSettings
from clipkit.web.hosts import host_name

ACCESS_LOG = "clipkit.server.access"
HEALTH = "/health/"
OPEN = (HEALTH, "/openapi.json")  # what starts so needs no key
WATCHED = (HEALTH, "/metrics")  # by what is to know how it is, also when it is busy
MCP = "/mcp"
WRITTEN = frozenset(
    {MCP, *(f"/v1/{name}" for name in ("embeddings", "search", "similar", "classify", "context"))}
)
"""What takes JSON."""

# Three bytes of JSON, such as an empty list with its comma, take sixty of memory once parsed.
MAX_VALUES = 500_000
_SEPARATORS = (b",", b"[", b"{")
_LONG = 200  # characters of a text in the log
_LONG_PATH = 200
_CLOSE = {"Connection": "close"}  # so that a client does not send what would not be read


class Gate:
    """An ASGI application that gets only requests that are allowed, each with its whole body.

    Args:
        app: The API.
        settings: Who is answered, and how much.
        metrics: Counts requests.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings, metrics: ServerMetrics) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._keys = [key.encode() for key in settings.keys]
        self._num_requests = 0
        self._num_bytes = 0
        self._log = logging.getLogger(ACCESS_LOG)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] == "websocket":  # there are none
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        watched = _Watched(send)
        start = time.perf_counter()
        body = _Body(receive, self._take, self._settings.limits.max_body_bytes)
        self._metrics.begin_request()
        try:
            await self._answer(scope, body, watched)
        except _StalledError:
            watched.status = _GONE
        except asyncio.CancelledError:  # the server ends, and the time for its requests is over
            if watched.status != _GONE:
                raise
            await _ENDING.answer()(scope, body.receive, watched)
        finally:
            self._num_bytes -= body.num_bytes
            seconds = time.perf_counter() - start
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.end_request(method, _route(scope), watched.status, seconds)
            self._write(scope, watched.status, seconds, body)

    async def _answer(self, scope: Scope, body: "_Body", send: "_Watched") -> None:
        is_counted = not scope["path"].startswith(WATCHED)
        try:
            self._check(scope)
            if is_counted and self._num_requests >= self._settings.limits.max_requests:
                raise busy(
                    f"{self._num_requests} requests are under way already: send this again in a "
                    "second"
                )
            self._num_requests += is_counted
        except RefusedError as refusal:
            refusal.headers.update(_CLOSE)
            await refusal.answer()(scope, body.receive, send)
            return
        try:
            await self._pass_on(scope, body, send)
        finally:
            self._num_requests -= is_counted

    async def _pass_on(self, scope: Scope, body: "_Body", send: "_Watched") -> None:
        """Give the API a request that has been received, and end with its client."""
        try:
            with anyio.fail_after(BODY_SECONDS):
                if not await body.read():
                    return  # the client has gone
        except TimeoutError:
            refusal = RefusedError(
                408, f"the body has not come within {BODY_SECONDS} seconds: send it again",
                "too_slow", _CLOSE,
            )  # fmt: skip
            await refusal.answer()(scope, body.receive, send)
            return
        except RefusedError as refusal:
            await refusal.answer()(scope, body.receive, send)
            return
        await self._work(scope, body, send)

    async def _work(self, scope: Scope, body: "_Body", send: "_Watched") -> None:
        working = asyncio.ensure_future(self._app(scope, body.replay, send))
        watching = asyncio.ensure_future(body.wait_for_end())
        try:
            await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            watching.cancel()
            # That nothing more will come is also told once all of the answer was sent.
            is_gone = not (working.done() or send.is_complete)
            if is_gone:
                working.cancel()
        await asyncio.wait({working})
        if not working.cancelled() and (error := working.exception()) and not is_gone:
            raise error

    def _take(self, count: int) -> None:
        """Count bytes of a body; refuse them if there are too many of all."""
        self._num_bytes += count
        if self._num_bytes > self._settings.limits.max_pending_bytes:
            refusal = busy("others are sending much now: send this again in a second")
            refusal.headers.update(_CLOSE)
            raise refusal

    def _check(self, scope: Scope) -> None:
        """Refuse a request by its head alone."""
        headers = Headers(scope=scope)
        if not self._keys:
            hosts = headers.getlist("host")
            # Probes ask for its health at addresses that the server cannot know.
            is_any = scope["path"].startswith(HEALTH)
            names = [host for host in hosts if is_any and host_name(host)]
            if len(hosts) != 1 or not (names or hosts[0] in self._settings.hosts):
                raise RefusedError(
                    403, "the server is not reached under this name: see --allow-host",
                    "unknown_host",
                )  # fmt: skip
        elif not scope["path"].startswith(OPEN):
            self._check_key(headers.get("authorization", ""))
        if scope["method"] != "POST" or scope["path"] not in WRITTEN:
            return
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise RefusedError(
                415,
                f"the body must be JSON, with the header Content-Type: application/json, got "
                f"{kind[:40]!a}",
                "no_json",
            )
        most = self._settings.limits.max_body_bytes
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > most:
            raise _too_large(most)

    def _check_key(self, given: str) -> None:
        scheme, _, key = given.partition(" ")
        # Every key is compared, each in constant time: the time tells nothing of any.
        matches = [hmac.compare_digest(key.strip().encode(), known) for known in self._keys]
        if scheme.lower() != "bearer" or not any(matches):
            what = "another" if given else "none"
            raise RefusedError(
                401,
                f"a key is needed, in the header Authorization: Bearer KEY, got {what}",
                "invalid_api_key",
                {"WWW-Authenticate": "Bearer"},
            )

    def _write(self, scope: Scope, status: int, seconds: float, body: "_Body") -> None:
        """Write one line into the access log, of what was asked only if that is wanted."""
        path = visible(scope["path"])[:_LONG_PATH]
        line = f"{scope['method'][:20]} {path} {status} {1000 * seconds:.1f} ms"
        if self._settings.logs_queries:
            query = scope["query_string"].decode("latin-1")
            asked = [visible(query)[:_LONG_PATH]] if query else []
            if body.content:
                asked.append(_shortened(bytes(body.content)))
            line = " ".join([line, *asked])
        self._log.info("%s", line)


_GONE = 499  # as nginx has it: the client has gone before it was answered


class _StalledError(Exception):
    """A client does not receive its answer: it would hold its place among the requests for ever."""


class _Watched:
    """Sends, and remembers the status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = _GONE
        self.is_complete = False  # whether the last part of the answer is being sent, or was

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        self.is_complete |= message["type"] == "http.response.body" and not message.get("more_body")
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._send(message)
        except TimeoutError as error:
            raise _StalledError from error


class _Body:
    """The body of a request: received once, within limits, and given to the API again."""

    def __init__(self, receive: Receive, take: Callable[[int], None], max_bytes: int) -> None:
        self.receive = receive
        self._take = take
        self._is_given = False
        self._end = asyncio.Event()
        self.content = bytearray()
        self.num_bytes = 0
        self._max_bytes = max_bytes

    async def read(self) -> bool:
        """Receive all of it; return whether the client is still there."""
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                return False
            part = message.get("body", b"")
            self.num_bytes += len(part)
            self._take(len(part))
            if self.num_bytes > self._max_bytes:
                raise _too_large(self._max_bytes)
            self.content += part
            if not message.get("more_body", False):
                break
        if sum(map(self.content.count, _SEPARATORS)) > MAX_VALUES:
            raise RefusedError(
                413, f"a request may have up to {MAX_VALUES} values in its lists and objects",
                "too_large",
            )  # fmt: skip
        return True

    async def replay(self) -> Message:
        """Give the API the body, and then nothing until the client has gone."""
        if not self._is_given:
            self._is_given = True
            return {"type": "http.request", "body": bytes(self.content), "more_body": False}
        await self._end.wait()
        return {"type": "http.disconnect"}

    async def wait_for_end(self) -> None:
        """Return once the client has gone."""
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self._end.set()


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _route(scope: Scope) -> str:
    """Return the route of a request that was answered; of unknown paths there are endless many."""
    if scope["path"] == MCP:
        return MCP
    return str(getattr(scope.get("route"), "path", "other"))


_ENDING = RefusedError(
    503, "the server is ending and cannot finish this: send it again", "ending",
    {"Retry-After": str(BUSY_SECONDS), **_CLOSE},
)  # fmt: skip


def _too_large(most: int) -> RefusedError:
    return RefusedError(
        413,
        f"a request may have up to {most / 1e6:.0f} MB: send smaller images, or fewer at once, or "
        "start the server with a larger --max-body-mb",
        "too_large",
        _CLOSE,
    )


def _shortened(body: bytes) -> str:
    """Return a body for the log: long texts, such as images, cut."""
    try:
        return json.dumps(_cut(json.loads(body)))[: 10 * _LONG]
    except (ValueError, RecursionError):
        return ascii(body[:_LONG])


def _cut(value: object) -> object:
    if isinstance(value, str):
        return value if len(value) <= _LONG else f"{value[:40]}... ({len(value)} characters)"
    if isinstance(value, list):
        return [_cut(item) for item in value[:20]]
    if isinstance(value, dict):
        return {key: _cut(item) for key, item in value.items()}
    return value
