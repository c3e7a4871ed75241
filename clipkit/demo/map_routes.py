"""The addresses of the map's viewer: Embedding Atlas' files, and the table of the map."""

import anyio
from anyio.to_thread import run_sync
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.staticfiles import StaticFiles

import clipkit
from clipkit.demo.request_filter import FILE, MAP
from clipkit.demo.shared_map import SharedMap

_FRESH = {"Cache-Control": "no-cache"}  # the next map is had at the same address


def add_map_routes(app: FastAPI, shared: SharedMap) -> None:
    """Add the addresses below /map/; there is nothing at them as long as there is no map.

    Args:
        app: The application, before the page's own addresses are added.
        shared: The map.
    """
    making = anyio.CapacityLimiter(1)  # the table of many images takes a second

    async def show(request: Request) -> Response:
        viewer = shared.viewer()
        if viewer is None:
            return _nothing()
        files = StaticFiles(directory=viewer.files, html=True)
        try:
            return await files.get_response(request.path_params["path"] or ".", request.scope)
        except HTTPException:
            return _nothing()

    async def describe(request: Request) -> Response:
        viewer = shared.viewer()
        if viewer is None:
            return _nothing()
        return Response(viewer.metadata, headers=_FRESH, media_type="application/json")

    async def send_table(request: Request) -> Response:
        try:
            table = await run_sync(shared.table, _image_address(request), limiter=making)
        except clipkit.ClipkitError:
            table = None  # the index cannot be read
        if table is None:
            return _nothing()
        return Response(table, headers=_FRESH, media_type="application/octet-stream")

    app.add_route(MAP + "data/metadata.json", describe, ["GET", "HEAD"])
    app.add_route(MAP + "data/dataset.parquet", send_table, ["GET", "HEAD"])
    app.add_route(MAP + "{path:path}", show, ["GET", "HEAD"])


def _image_address(request: Request) -> str:
    """Return what comes before an image's id in its address, as the browser sees the page."""
    headers = request.headers
    host = headers.get("x-forwarded-host", headers["host"]).partition(",")[0].strip()
    return f"{request.url.scheme}://{host}{FILE}"


def _nothing() -> Response:
    return PlainTextResponse("there is nothing here", 404)
