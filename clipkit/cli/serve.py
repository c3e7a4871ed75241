"""``clipkit serve``: the HTTP API and the MCP server, without the page."""

import argparse
import contextlib
import os
import socket
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from clipkit.cli import values
from clipkit.cli.indexing import add_scan_options, check_is_indexed
from clipkit.cli.model_options import add_model_options, load_encoder
from clipkit.cli.search_sync import sync_for_search
from clipkit.cli.store_options import add_store_option, settle_store
from clipkit.cli.terminal import note, warn
from clipkit.encoder.encoder import Encoder
from clipkit.errors import InputError, MissingExtraError
from clipkit.search.library import PhotoLibrary

if TYPE_CHECKING:
    from clipkit.server.serving import Served
    from clipkit.server.settings import ServerSettings

KEY_VARIABLE = "CLIPKIT_API_KEY"
_MODULES = ("fastapi", "uvicorn", "prometheus_client", "mcp")
_LEAST_KEY = 16  # characters

_EPILOG = """\
examples:
  clipkit serve ~/Pictures                         search, similar, classify, context, embeddings
  clipkit serve --model ViT-B-32-256/datacomp_s34b_b86k --workers 2       embeddings alone
  clipkit serve --store milvus://localhost:19530/photos --host 0.0.0.0 --api-key-file key.txt
  curl localhost:8000/v1/search -H 'Content-Type: application/json' -d '{"query": "a cat"}'

OpenAI's client embeds texts and images with base_url="http://localhost:8000/v1"; MCP clients use
http://localhost:8000/mcp. /openapi.json has the schema, /health/ready and /metrics are for whoever
watches it. SIGTERM and Ctrl-C end it once the requests under way are answered.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "serve",
        help="serve search, classification and embeddings to other programs",
        description="Serve an HTTP API and an MCP server over a model and, if one is named, a "
        "folder of images, which is indexed first. Nothing leaves the machine.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "folder",
        type=values.path,
        metavar="FOLDER",
        nargs="?",
        help="a folder of images to search (default: the model alone)",
    )
    add_store_option(
        parser, "search what clipkit index --store has sent there, from any machine; no FOLDER then"
    )
    parser.add_argument(
        "--no-indexing",
        action="store_true",
        help="serve the index as it is, without looking for changes in the folder",
    )
    add_scan_options(parser)
    _add_address(parser.add_argument_group("address and access"))
    _add_limits(parser.add_argument_group("limits"))
    add_model_options(parser)
    parser.set_defaults(run=run)


def _add_address(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to serve at; 0.0.0.0 lets other machines in (default: %(default)s)",
    )
    group.add_argument(
        "--port",
        type=values.whole_number(0, 65535),
        default=8000,
        metavar="N",
        help="where to serve; 0 takes a free one (default: %(default)s)",
    )
    group.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name under which the server is reached, such as a proxy's; may be repeated; "
        "with a key any name will do",
    )
    group.add_argument(
        "--api-key-file",
        type=values.path,
        metavar="FILE",
        help=f"keys, one a line, of which clients must send one as Authorization: Bearer KEY; "
        f"without it ${KEY_VARIABLE}, if that is set",
    )
    group.add_argument(
        "--workers",
        type=values.whole_number(1, 64),
        default=1,
        metavar="N",
        help="processes behind the one port, each with the model in memory (default: %(default)s)",
    )
    group.add_argument(
        "--log-queries",
        action="store_true",
        help="write what was asked for into the access log too; without it only method, path, "
        "status and time",
    )
    group.add_argument(
        "--drain-seconds",
        type=values.number(0, 3600),
        default=0.0,
        metavar="S",
        help="how long to go on after SIGTERM while /health/ready says no, for a load balancer to "
        "notice (default: %(default)g)",
    )
    group.add_argument(
        "--grace-seconds",
        type=values.number(0, 3600),
        default=30.0,
        metavar="S",
        help="how long requests under way may then still take (default: %(default)g)",
    )


def _add_limits(group: "argparse._ArgumentGroup") -> None:
    for name, default, text in (
        ("--max-body-mb", 32, "megabytes of one request"),
        ("--max-texts", 2048, "texts of one request for embeddings"),
        ("--max-images", 64, "images of one request for embeddings"),
        ("--max-labels", 256, "labels of one request to classify"),
        ("--max-k", 1000, "hits of one search"),
        ("--max-requests", 512, "requests under way at once, of a worker; others get 503"),
    ):
        group.add_argument(
            name,
            type=values.whole_number(1),
            default=default,
            metavar="N",
            help=f"{text} (default: %(default)s)",
        )


def run(arguments: argparse.Namespace) -> int:
    """Index the folder, and serve until the process is told to end.

    Args:
        arguments: As parsed.

    Returns:
        0; 130 if the indexing was interrupted.

    Raises:
        MissingExtraError: If what the server stands on is not installed.
        InputError: If the folder, the keys or the address is refused.
    """
    if not all(map(find_spec, _MODULES)):
        raise MissingExtraError("server", "clipkit serve")
    from clipkit.server.serving import Served
    from clipkit.server.workers import open_library
    from clipkit.web.hosts import LOCAL_NAMES
    from clipkit.web.listening import bind, shown_address

    _check_sources(arguments)
    settings = _settings(arguments)
    with contextlib.closing(bind(arguments.host, arguments.port, what="the API")) as bound:
        encoder = load_encoder(arguments, cache_texts="memory")  # what clients ask is never kept
        if arguments.folder is not None and not _index(arguments.folder, encoder, arguments):
            return 130
        # A store that nobody answers at is refused before anything is said to be served.
        library = open_library(arguments.folder, arguments.store, encoder)
        if arguments.host not in LOCAL_NAMES and not settings.keys:
            warn(
                f"whoever reaches {arguments.host} is answered, since there is no key: see "
                "--api-key-file"
            )
        note(f"the API is at  {shown_address(arguments.host, bound)}")
        _serve(arguments, settings, Served(encoder, library), bound)
    return 0


def _check_sources(arguments: argparse.Namespace) -> None:
    """Refuse a folder that is not there, and options that do not fit together."""
    if arguments.store is not None:
        settle_store(arguments)
        arguments.folder = None
    elif arguments.folder is not None:
        PhotoLibrary.open(arguments.folder)  # says what is wrong with it
        if arguments.no_indexing:
            check_is_indexed(arguments.folder)
    elif arguments.no_indexing or arguments.exclude is not None or arguments.include_hidden:
        raise InputError(
            "--no-indexing, --exclude and --include-hidden are about a folder, and none is named: "
            "clipkit serve FOLDER"
        )


def _settings(arguments: argparse.Namespace) -> "ServerSettings":
    from clipkit.server.settings import Limits, ServerSettings
    from clipkit.web.hosts import allowed_hosts

    limits = Limits(
        max_body_bytes=arguments.max_body_mb * 1_000_000,
        max_texts=arguments.max_texts,
        max_images=arguments.max_images,
        max_labels=arguments.max_labels,
        max_k=arguments.max_k,
        max_requests=arguments.max_requests,
    )
    if arguments.max_megapixels is not None:
        limits = replace(limits, max_pixels=max(1, int(min(arguments.max_megapixels, 1e6) * 1e6)))
    return ServerSettings(
        hosts=allowed_hosts(arguments.host, arguments.allow_host),
        keys=_read_keys(arguments.api_key_file),
        limits=limits,
        logs_queries=arguments.log_queries,
        drain_seconds=arguments.drain_seconds,
        grace_seconds=arguments.grace_seconds,
    )


def _read_keys(file: str | None) -> tuple[str, ...]:
    """Return the keys of a file, or that of the environment."""
    if file is None:
        given, where = [os.environ.get(KEY_VARIABLE, "")], f"${KEY_VARIABLE}"
    else:
        try:
            given, where = Path(file).read_text(encoding="utf-8").splitlines(), file
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{file}: the keys cannot be read ({error})") from error
    keys = tuple(filter(None, map(str.strip, given)))
    if file is not None and not keys:
        raise InputError(
            f"{file} has no key: write one a line, such as  openssl rand -hex 32  gives"
        )
    for key in keys:
        if len(key) < _LEAST_KEY or not key.isascii() or not key.isprintable() or " " in key:
            raise InputError(
                f"a key in {where} must have {_LEAST_KEY} letters and digits or more, got "
                f"{len(key)} characters: make one with  openssl rand -hex 32"
            )
    return keys


def _index(folder: str, encoder: Encoder, arguments: argparse.Namespace) -> bool:
    """Bring the index up to date; return whether that was not interrupted."""
    return sync_for_search(PhotoLibrary.open_nearest(folder, encoder), arguments) is not None


def _serve(
    arguments: argparse.Namespace,
    settings: "ServerSettings",
    served: "Served",
    bound: socket.socket,
) -> None:
    from clipkit.server.workers import serve_here, serve_in_workers

    if arguments.workers == 1:
        serve_here(settings, lambda: served, bound)
    else:
        serve_in_workers(
            settings,
            served.encoder.spec,
            bound,
            num_workers=arguments.workers,
            folder=arguments.folder,
            store=arguments.store,
        )
