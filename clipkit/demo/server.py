"""The page as a web application, and its server: image routes here, Gradio's for the rest."""

import contextlib
import html
import os
import socket
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import anyio
import gradio as gr
import uvicorn
from anyio.to_thread import run_sync
from fastapi import FastAPI
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp

import clipkit
from clipkit.demo.api_calls import CallError, read_call
from clipkit.demo.image_store import ImageStore
from clipkit.demo.map_routes import add_map_routes
from clipkit.demo.messages import short_name
from clipkit.demo.model_switch import ModelSwitch
from clipkit.demo.request_filter import FILE, MAX_UPLOAD, UPLOAD, RequestFilter
from clipkit.demo.shared_map import SharedMap
from clipkit.web.hosts import LOCAL_NAMES, allowed_hosts
from clipkit.web.listening import HeadTimeoutProtocol

MAX_CONNECTIONS = 1000  # each visitor holds two open
MAX_SESSIONS = 500  # visitors whose last answer is remembered
MAX_JOBS = 200  # under way at once, and as many waiting
MAX_PENDING = 8  # calls of one visitor: a click makes two
UPLOAD_SECONDS = 120
# Fonts that every system has: the page must not ask the network for any.
THEME = gr.themes.Default(
    primary_hue="indigo",
    neutral_hue="zinc",
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
).set(
    body_text_color_subdued="*neutral_600",  # Gradio's is too pale to read: 2.6 to 1 on white
    body_text_color_subdued_dark="*neutral_400",
    button_primary_background_fill="*primary_600",  # with Gradio's, white on it is 4.46 to 1
    button_primary_background_fill_hover="*primary_700",
    button_primary_background_fill_dark="*primary_600",
    button_primary_background_fill_hover_dark="*primary_700",
)
STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")


def make_app(  # noqa: PLR0913 - what is told of it and of its surroundings
    page: gr.Blocks,
    images: ImageStore,
    *,
    host: str = "127.0.0.1",
    allowed: tuple[str, ...] = (),
    shared: SharedMap | None = None,
    meanwhile: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
    has_mcp: bool = False,
) -> ASGIApp:
    """Return the web application that serves a page, and nothing but the page.

    Args:
        page: The page.
        images: The images it may show.
        host: The address it will be bound to.
        allowed: Further names under which it is reached.
        shared: The map that its viewer shows; None: there is none.
        meanwhile: What runs while the application is served, such as the indexing.
        has_mcp: Whether its functions are tools of an MCP server too.

    Returns:
        The application.
    """
    app = FastAPI(openapi_url=None, lifespan=meanwhile)
    _add_image_routes(app, images)
    if shared is not None:
        add_map_routes(app, shared)
    page.state_session_capacity = MAX_SESSIONS
    # All jobs that are admitted wait in the queue for the model, not for each other to end.
    page.max_threads = MAX_JOBS
    os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "100")  # gone through after every job
    page.queue(max_size=MAX_JOBS, default_concurrency_limit=None, api_open=False)
    with warnings.catch_warnings():
        # A tool starts without what its visitor has asked before, which is as it should be.
        warnings.filterwarnings("ignore", "This MCP server includes a tool that has a gr.State")
        gr.mount_gradio_app(
            app, page, path="/", theme=THEME, css=STYLE, max_file_size=MAX_UPLOAD, ssr_mode=False,
            footer_links=["gradio", "settings"], run_history=False, show_error=False, pwa=False,
            mcp_server=has_mcp,
        )  # fmt: skip
    page.app = app.routes[-1].app  # type: ignore[attr-defined] # what was mounted
    return RequestFilter(
        app,
        check_call=partial(_check_call, page, images),
        hosts=allowed_hosts(host, allowed),
        origins=frozenset(map(str.lower, allowed)),
        has_mcp=has_mcp,
    )


def _check_call(page: gr.Blocks, images: ImageStore, body: bytes) -> object:
    """Return a call rebuilt, unless its visitor has too many under way."""
    call = read_call(body, images)
    pending = page._queue.pending_event_ids_session.get(call["session_hash"], ())
    if len(pending) >= MAX_PENDING:
        raise CallError("wait for what you have asked already")
    return call


def _add_image_routes(app: FastAPI, images: ImageStore) -> None:
    """Add the addresses of uploads and renderings, in front of Gradio's."""
    # A few at a time, with a limit for each: an upload may take seconds to decode.
    rendering, decoding = anyio.CapacityLimiter(2), anyio.CapacityLimiter(1)

    async def show(request: Request) -> Response:
        try:
            data = await run_sync(images.render, request.path_params["key"], limiter=rendering)
        except clipkit.ClipkitError:
            data = None  # gone or changed since it was indexed
        if data is None:
            return PlainTextResponse("there is no such image", 404)
        return Response(data, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})  # fmt: skip # noqa: E501

    async def take_upload(request: Request) -> Response:
        try:
            with anyio.fail_after(UPLOAD_SECONDS):
                form = await request.form(max_files=1, max_fields=0)
        except (ClientDisconnect, TimeoutError):
            return PlainTextResponse("the upload took too long", 408)
        try:
            file = form.get("files")
            if not isinstance(file, UploadFile):
                return PlainTextResponse("one image is expected", 400)
            return await run_sync(_keep_upload, images, file, limiter=decoding)
        finally:
            await form.close()

    def tell_progress(_: Request) -> Response:
        # Gradio's own routes count the bytes; here a browser only learns that it is done.
        return Response('data: {"msg": "done"}\n\n', media_type="text/event-stream")

    app.add_route(FILE + "{key}", show, ["GET", "HEAD"])
    app.add_route(UPLOAD, take_upload, ["POST"])
    app.add_route("/gradio_api/upload_progress", tell_progress, ["GET"])


def _keep_upload(images: ImageStore, file: UploadFile) -> Response:
    """Return the answer to an upload; it is read into memory only now that it is its turn."""
    name = file.filename or ""
    try:
        return JSONResponse([images.upload(file.file.read(), name)])
    except clipkit.ImageReadError as error:
        reason = html.escape(f"{short_name(name)}: {error.reason}")  # shown as markup
        return PlainTextResponse(reason, 415)


class PageServer(uvicorn.Server):
    """The server of a page; it ends within seconds at Ctrl-C and SIGTERM.

    Args:
        app: What it serves.
        page: The page in it.
    """

    def __init__(self, app: ASGIApp, page: gr.Blocks) -> None:
        super().__init__(
            uvicorn.Config(
                app, log_level="warning", server_header=False, http=HeadTimeoutProtocol, ws="none",
                limit_concurrency=MAX_CONNECTIONS, timeout_graceful_shutdown=2,
            )
        )  # fmt: skip
        self._page = page

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams that browsers hold open, then the rest."""
        self._page.app.stop_event.set()
        await super().shutdown(sockets)


def serve(page: gr.Blocks, app: ASGIApp, bound: socket.socket, switch: ModelSwitch) -> None:
    """Serve a page until it is interrupted, or its model switched.

    Args:
        page: The page.
        app: The application that serves it, of `make_app`.
        bound: Where, of `bind`.
        switch: Ends the server when the page is to come with another model.
    """
    server = PageServer(app, page)
    switch.serve_by(server)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[bound])


def is_private(host: str, allowed: Sequence[str] = ()) -> bool:
    """Return whether a page is for this machine's own browser, and for nobody else.

    Args:
        host: The address it will be bound to.
        allowed: Further names under which it is reached, such as a proxy's.

    Returns:
        Whether that is so.
    """
    return host in LOCAL_NAMES and not allowed
