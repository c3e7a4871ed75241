"""A map in the browser, or as files for any web server: Apple's Embedding Atlas shows it."""

import contextlib
from pathlib import Path

import embedding_atlas
import uvicorn
from embedding_atlas.data_source import DataSource
from embedding_atlas.server import make_server
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp

from clipkit.errors import InputError
from clipkit.mapping.image_map import ImageMap

STATIC = Path(embedding_atlas.__file__).parent / "static"


def make_app(shown: ImageMap, *, allowed: tuple[str, ...] = ("localhost", "127.0.0.1")) -> ASGIApp:
    """Return a web application that shows a map.

    Args:
        shown: The map.
        allowed: Names under which it answers: no other site can make a browser ask for it.

    Returns:
        The application. It reads nothing but the map's table, which the browser gets whole.
    """
    app = make_server(_source(shown), static_path=str(STATIC), duckdb_uri="wasm")
    return TrustedHostMiddleware(app, allowed_hosts=list(allowed))


def write_site(shown: ImageMap, directory: Path) -> None:
    """Write a map as files that any web server can show, without clipkit and without a network.

    Args:
        shown: The map.
        directory: New or empty.

    Raises:
        InputError: If there is something in it, or it cannot be written.
    """
    try:
        if directory.exists() and any(directory.iterdir()):
            raise InputError(f"{directory} is not empty: name a new directory for the map")
        _source(shown).export_to_folder(str(STATIC), str(directory))
    except OSError as error:
        raise InputError(
            f"{directory}: the map cannot be written ({error.strerror or error})"
        ) from error


def serve(app: ASGIApp, port: int) -> None:
    """Serve a map to this machine until it is interrupted."""
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", server_header=False)


def _source(shown: ImageMap) -> DataSource:
    return DataSource("clipkit", shown.table, {"props": shown.props})
