"""ASGI middleware in front of the page: allowed hosts, origins and routes, and limits of uploads.

Gradio brings many routes that this page does not need: files of the disk, a proxy, run histories,
servers of components. Here the few that it needs are listed, and all others answer 404.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clipkit.demo.api_calls import SESSION, CallError, read_tool_call
from clipkit.web.hosts import AllowedHosts

MAX_UPLOAD = 32 * 2**20  # bytes of one image
MAX_CALL = 128 * 2**10  # bytes of one call: some 200 labels many times over
MAX_PENDING_BYTES = 512 * 2**20  # bytes of all uploads and calls not answered yet
CALL_SECONDS = 20  # until a call has been received
JOIN, DATA = "/gradio_api/queue/join", "/gradio_api/queue/data"
UPLOAD, FILE = "/gradio_api/upload", "/gradio_api/file="
MCP = "/gradio_api/mcp/"
MAP = "/map/"

_BUSY = "others are uploading: try again in a minute"

_READ = re.compile(
    r"/(config|theme\.css|manifest\.json|favicon\.ico|robots\.txt)?"
    r"|/(assets|static)(/[\w@-][\w@.-]*)+"
    r"|/gradio_api/(info|startup-events|queue/data|upload_progress)"
    rf"|/gradio_api/heartbeat/{SESSION.pattern}"
    r"|/gradio_api/file=[\w-]+"
    rf"|{MAP}(index\.html|data/(metadata\.json|dataset\.parquet|cache/[\w-]+))?"
    rf"|{MAP}(assets|duckdb-wasm)(/[\w@-][\w@.-]*)+",
    re.ASCII,
)
# Bytes of a body, and of the frame around an upload.
_WRITE = {JOIN: MAX_CALL, UPLOAD: MAX_UPLOAD + 4096, MCP: MAX_CALL} | {
    f"/gradio_api/{name}": 4096 for name in ("cancel", "reset")
}
_HEADERS = {
    # Gradio's scripts are inline. Injected ones could send nothing to other sites.
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class BodyBudget:
    """How many bytes of request bodies may still be received, of all visitors together."""

    def __init__(self) -> None:
        self.left = MAX_PENDING_BYTES


@dataclass(frozen=True)
class RequestFilter:
    """An ASGI application that gets only the requests which are allowed."""

    app: ASGIApp
    check_call: Callable[[bytes], object]  # rebuilds the body of a call, or raises CallError
    hosts: AllowedHosts = field(default_factory=AllowedHosts)  # names that lead here
    origins: frozenset[str] = frozenset()  # where a proxy shows the page: names, or names:ports
    has_mcp: bool = False  # whether programs may speak the Model Context Protocol
    budget: BodyBudget = field(default_factory=BodyBudget)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] == "websocket":  # the page uses none
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        send = _with_headers(send)
        if scope["path"] != DATA:  # the page uses no query string
            scope = {**scope, "query_string": b""}
        refusal = self._refusal(scope)
        if refusal is None and scope["path"] in _WRITE:
            try:
                with _LimitedBody(receive, scope["path"], self.budget) as limited:
                    if scope["path"] == UPLOAD:
                        await self.app(scope, limited, send)
                    else:
                        await self._pass_on(scope, limited, send)
                return
            except TimeoutError:
                refusal = _refuse(408, "this took too long: ask again")
            except HTTPException as error:
                refusal = _refuse(error.status_code, error.detail)
            except CallError as error:
                refusal = _refuse(422, str(error))
        await (refusal or self.app)(scope, receive, send)

    async def _pass_on(self, scope: Scope, limited: "_LimitedBody", send: Send) -> None:
        """Give the application an API call that has been read and checked."""
        body = await limited.read()
        if scope["path"] == JOIN:
            body = json.dumps(self.check_call(body)).encode()
        elif scope["path"] == MCP:  # whose calls come to JOIN in their turn
            body = json.dumps(read_tool_call(body)).encode()
        headers = MutableHeaders(scope=scope)
        headers["content-length"] = str(len(body))
        del headers["transfer-encoding"]
        await self.app(scope, _replay(body, limited), send)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        """Return the answer to a request that is not allowed; None if it is."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host") + _names(",".join(headers.getlist("x-forwarded-host")))
        if len(headers.getlist("host")) != 1 or not all(host in self.hosts for host in hosts):
            return _refuse(403, "the page is not served under this name: see --allow-host")
        origin = headers.get("origin")
        if origin is not None and not self._is_own_origin(origin, hosts):
            return _refuse(403, "the page answers no other site")
        path, method = scope["path"], scope["method"]
        if path in _WRITE and (path != MCP or self.has_mcp):
            if method != "POST":
                return _refuse(405, "this address is written to")
            length = headers.get("content-length", "0")
            if not length.isdecimal() or int(length) > _WRITE[path]:
                return _refuse(413, _limit(path))
            return None
        if not _READ.fullmatch(path):
            return _refuse(404, "there is nothing here")
        return None if method in ("GET", "HEAD") else _refuse(405, "this address is only read")

    def _is_own_origin(self, origin: str, hosts: list[str]) -> bool:
        """Return whether a request comes from the page itself."""
        try:
            netloc = urlsplit(origin).netloc.lower()
        except ValueError:
            return False
        # With its port: other pages of this machine are other sites.
        return bool(netloc) and netloc in {*(host.lower() for host in hosts), *self.origins}


class _LimitedBody:
    """The body of a request, up to the limits of its route and of the budget."""

    def __init__(self, receive: Receive, path: str, budget: BodyBudget) -> None:
        self._receive = receive
        self._path = path
        self._budget = budget
        self._num_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._budget.left += self._num_bytes

    async def __call__(self) -> Message:
        message = await self._receive()
        num_bytes = len(message.get("body", b""))
        self._num_bytes += num_bytes
        self._budget.left -= num_bytes
        if self._num_bytes > _WRITE[self._path]:
            raise HTTPException(413, _limit(self._path), {"Connection": "close"})
        if self._budget.left < 0:
            raise HTTPException(503, _BUSY, {"Connection": "close"})
        return message

    async def read(self) -> bytes:
        """Return all of it."""
        body = bytearray()
        with anyio.fail_after(CALL_SECONDS):
            while True:
                message = await self()
                body += message.get("body", b"")
                if not message.get("more_body", False):
                    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a body that has been read, to be received once more, and what comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(_HEADERS)
        await send(message)

    return send_with_headers


def _refuse(status: int, reason: str) -> ASGIApp:
    # Closed, so that a client does not send what would not be read.
    return JSONResponse({"detail": reason}, status, {"Connection": "close"})


def _limit(path: str) -> str:
    """Return how much an address takes, in words."""
    if path == UPLOAD:
        return f"an image may have up to {MAX_UPLOAD / 1e6:.0f} MB"
    return f"this may have up to {_WRITE[path] / 1e3:.0f} kB: give less text"


def _names(header: str) -> list[str]:
    return [name.strip() for name in header.split(",") if name.strip()]
