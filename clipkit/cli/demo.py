"""``clipkit demo``: a page in the browser that searches and classifies the images of a folder."""

import argparse
import signal
import sys
from importlib.util import find_spec

from clipkit.cli import values
from clipkit.cli.indexing import add_scan_options, note_other_models, sync_options
from clipkit.cli.model_options import add_model_options, load_encoder
from clipkit.cli.report_lines import missing_line, nothing_line, sync_summary
from clipkit.cli.terminal import note
from clipkit.encoder.encoder import Encoder
from clipkit.errors import MissingExtraError
from clipkit.progress import Progress
from clipkit.runtime.parity import reference_directory
from clipkit.search.library import PhotoLibrary, SyncReport

_EPILOG = """\
examples:
  clipkit demo                                    45 sample photographs
  clipkit demo ~/Pictures
  clipkit demo ~/Pictures --host 0.0.0.0          for other machines of this network too
  clipkit demo ~/Pictures --mcp                   for programs that use tools, too

The page has no passwords: whoever reaches its address can search the folder and see small
renderings of its images, and nothing else of the disk. Ctrl-C ends it.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "demo",
        help="search and classify images in the browser",
        description="Serve a page to this machine's browser that searches and classifies the "
        "images of a folder, which is indexed meanwhile. Nothing leaves the machine.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "folder",
        type=values.path,
        metavar="FOLDER",
        nargs="?",
        help="a folder of images (default: the sample photographs)",
    )
    parser.add_argument(
        "--port",
        type=values.whole_number(1),
        metavar="N",
        help="where to serve (default: the first free one from 7860 on)",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to serve at; 0.0.0.0 lets other machines in (default: %(default)s)",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name under which the page is reached, such as a proxy's, with its port if that is "
        "not the usual one; may be repeated",
    )
    parser.add_argument(
        "--mcp",
        action="store_true",
        help="let programs use the page's functions as tools too (Model Context Protocol)",
    )
    add_scan_options(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until it is interrupted, and index the folder meanwhile.

    Args:
        arguments: As parsed.

    Returns:
        0.

    Raises:
        MissingExtraError: If Gradio is not installed, or what --mcp needs.
        InputError: If there is no such folder, or the address cannot be bound to.
    """
    if find_spec("gradio") is None:
        raise MissingExtraError("demo", "The page in the browser")
    if arguments.mcp and find_spec("mcp") is None:
        raise MissingExtraError("mcp", "--mcp")
    folder = arguments.folder or str(reference_directory())
    PhotoLibrary.open(folder)  # says what is wrong with it, before the model is loaded
    encoder = load_encoder(arguments, cache_texts="memory")  # what visitors type is never logged
    library = PhotoLibrary.open_nearest(folder, encoder)
    note_other_models(library)
    while True:
        following, arguments.port = _serve(library, encoder, arguments)
        if following is None:
            return 0
        encoder = following
        library = PhotoLibrary.open_nearest(folder, encoder)
        note(f"the page has the model {encoder.name} from now on")


def _serve(
    library: PhotoLibrary, encoder: Encoder, arguments: argparse.Namespace
) -> tuple[Encoder | None, int]:
    """Serve the page; return the model that it is to have next, None at the end, and its port."""
    from clipkit.demo.app import serve_page  # a second or two, only now
    from clipkit.demo.folder_indexer import FolderIndexer
    from clipkit.demo.model_queue import ModelQueue
    from clipkit.demo.request_filter import MCP

    # Ends as Ctrl-C does, so that temporary files are removed.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    def sync(progress: Progress) -> SyncReport:
        # As the page lists them.
        return library.sync(progress=progress, **sync_options(arguments, order="newest"))

    def tell_indexed(report: SyncReport) -> None:
        lines = [
            sync_summary(report, str(library.folder)),
            nothing_line(library, str(library.folder)),
        ]
        if report.missing > report.missing_before:
            lines.append(missing_line(library, report))
        for line in filter(None, lines):
            note(line)

    def tell(address: str) -> None:
        print(f"The page is at  {address}", flush=True)
        if arguments.mcp:
            print(f"The MCP server is at  {address}{MCP}", flush=True)

    try:
        return serve_page(
            encoder,
            FolderIndexer(library, ModelQueue(), sync=sync, tell=tell_indexed),
            host=arguments.host,
            port=arguments.port,
            allowed=tuple(arguments.allow_host),
            has_mcp=arguments.mcp,
            tell=tell,
        )
    finally:
        signal.signal(signal.SIGTERM, before)
