"""The web application of a server: the API behind its gate, from its start to its end."""

import asyncio
import contextlib
import warnings
from collections.abc import AsyncIterator, Callable

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from clipkit.errors import ClipkitWarning
from clipkit.server.gate import MCP, Gate
from clipkit.server.mcp_tools import make_mcp
from clipkit.server.metrics import ServerMetrics
from clipkit.server.refusals import RefusedError
from clipkit.server.routes import add_routes
from clipkit.server.schema import TITLE, make_schema
from clipkit.server.serving import Load, Serving
from clipkit.server.settings import ServerSettings


def make_app(
    settings: ServerSettings,
    load: Load,
    fail: Callable[[Exception], None],
    *,
    loads_first: bool = False,
) -> ASGIApp:
    """Return the web application of one worker.

    Args:
        settings: Who is answered, how much, and what is logged.
        load: Loads what is served; called once the application runs.
        fail: Called with what loading raised.
        loads_first: Whether requests are taken only once it is ready, so that other workers of the
            same port answer meanwhile; else it tells of its health while it loads.

    Returns:
        The application.
    """
    metrics = ServerMetrics()
    serving = Serving(settings, load, fail, metrics)
    mcp = make_mcp(serving, settings.limits.max_body_bytes)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # Of what is asked for, which is nobody's business but the client's.
        warnings.simplefilter("ignore", ClipkitWarning)
        serving.end_at_signals()
        async with mcp.run():
            loading = asyncio.create_task(serving.start())
            if loads_first:
                await loading
            yield
            loading.cancel()
            serving.close()

    # The pages that show a schema load scripts of other hosts.
    app = FastAPI(title=TITLE, docs_url=None, redoc_url=None, lifespan=lifespan)
    add_routes(app, serving, metrics)
    app.openapi = lambda: make_schema(app, settings)  # type: ignore[method-assign]
    return Gate(_with_mcp(app, mcp.handle_request), settings, metrics)


def _with_mcp(app: ASGIApp, mcp: ASGIApp) -> ASGIApp:
    """Return an application that answers MCP at its address, and leaves the rest to another."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].rstrip("/") != MCP:
            await app(scope, receive, send)
        elif scope["method"] == "POST":
            await mcp(scope, receive, send)
        else:  # a stream that stays open would keep the server from ending
            await _NO_STREAM.answer()(scope, receive, send)

    return answer


_NO_STREAM = RefusedError(
    405, "MCP is spoken here by POST: there are no streams and no sessions", "http_error",
    {"Allow": "POST"},
)  # fmt: skip
