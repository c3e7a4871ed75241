"""``clipkit demo``: a page in the browser that searches and classifies the images of a folder."""

import argparse
import signal
import sys
from importlib.util import find_spec

from clipkit.cli import values
from clipkit.cli.options import (
    add_model_options,
    add_scan_options,
    load_encoder,
    missing_line,
    nothing_line,
    skipped_lines,
    sync_if_possible,
)
from clipkit.cli.terminal import note
from clipkit.encoder.encoder import Encoder
from clipkit.errors import MissingExtraError
from clipkit.runtime.parity import reference_directory
from clipkit.search.library import PhotoLibrary

_EPILOG = """\
examples:
  clipkit demo                                    45 sample photographs
  clipkit demo ~/Pictures
  clipkit demo ~/Pictures --host 0.0.0.0          for other machines of this network too

The page has no passwords: whoever reaches its address can search the folder and see small
renderings of its images, and nothing else of the disk. Ctrl-C ends it.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "demo",
        help="search and classify images in the browser",
        description="Serve a page to this machine's browser that searches and classifies the "
        "images of a folder, which is indexed first. Nothing leaves the machine.",
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
    add_scan_options(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Index the folder and serve the page until it is interrupted.

    Args:
        arguments: As parsed.

    Returns:
        0.

    Raises:
        MissingExtraError: If Gradio is not installed.
        InputError: If there is no such folder, or the address cannot be bound to.
    """
    if find_spec("gradio") is None:
        raise MissingExtraError("demo", "The page in the browser")
    folder = arguments.folder or str(reference_directory())
    PhotoLibrary.open(folder)  # says what is wrong with it, before the model is loaded
    encoder = load_encoder(arguments, cache_texts="memory")  # what visitors type is never logged
    library = PhotoLibrary.open_nearest(folder, encoder)
    report = sync_if_possible(
        library, folder, exclude=arguments.exclude, include_hidden=arguments.include_hidden
    )
    if report is not None:
        for line in (*skipped_lines(report.skipped), missing_line(library, report)):
            if line:
                note(line)
    if line := nothing_line(library, folder):
        note(line)
    _serve(library, encoder, arguments)
    return 0


def _serve(library: PhotoLibrary, encoder: Encoder, arguments: argparse.Namespace) -> None:
    from clipkit.demo.app import serve_page  # a second or two, only now

    # Ends as Ctrl-C does, so that temporary files are removed.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        serve_page(
            library,
            encoder,
            host=arguments.host,
            port=arguments.port,
            allowed=tuple(arguments.allow_host),
            tell=lambda address: print(f"The page is at  {address}", flush=True),
        )
    finally:
        signal.signal(signal.SIGTERM, before)
