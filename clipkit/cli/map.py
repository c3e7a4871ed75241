"""``clipkit map``: the images of a folder as a map in the browser, similar ones close together."""

import argparse
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from clipkit.cli import values
from clipkit.cli.indexing import add_scan_options, sync_if_possible, sync_options
from clipkit.cli.label_arguments import read_labels
from clipkit.cli.model_options import add_model_options, load_encoder
from clipkit.cli.report_lines import missing_line, nothing_line, skipped_lines
from clipkit.cli.terminal import note, progress_bar
from clipkit.encoder.encoder import Encoder
from clipkit.errors import InputError, LibraryError, MissingExtraError
from clipkit.progress import Callbacks
from clipkit.runtime.parity import reference_directory
from clipkit.search.library import PhotoLibrary
from clipkit.zero_shot.templates import DEFAULT_TEMPLATES

if TYPE_CHECKING:
    from clipkit.mapping.image_map import ImageMap

_PORT = 7890
_EPILOG = """\
examples:
  clipkit map                                     45 sample photographs
  clipkit map ~/Pictures
  clipkit map ~/Pictures --labels "people, city, sea, mountains, food"
  clipkit map ~/Pictures -o map/                  as files for any web server

What lies close together is similar to the model; how far apart two groups are means little. The
page (Embedding Atlas) colours the images by label, date, camera or folder, filters and searches
them, and shows the neighbours of each. It draws with WebGPU, which recent Chrome, Edge, Safari and
Firefox have. Nothing leaves the machine. Ctrl-C ends it.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "map",
        help="show a folder as a map, similar images together",
        description="Lay out the images of a folder in two dimensions, similar ones close "
        "together, and serve the map to this machine's browser. The folder is indexed first.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "folder",
        type=values.path,
        metavar="FOLDER",
        nargs="?",
        help="a folder of images (default: the sample photographs)",
    )
    labels = parser.add_mutually_exclusive_group()
    labels.add_argument(
        "--labels",
        metavar='"a,b,c"',
        help="a column with the label that fits each image best, of these",
    )
    labels.add_argument(
        "--labels-file",
        type=values.path,
        metavar="FILE",
        help="the same from a file, as for clipkit classify",
    )
    parser.add_argument(
        "--templates",
        default=DEFAULT_TEMPLATES,
        metavar="SET",
        help="prompt templates for the labels, as for clipkit classify",
    )
    parser.add_argument(
        "--no-thumbnails",
        action="store_true",
        help="show no images, which makes the map of many start sooner",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--output",
        "-o",
        type=values.path,
        metavar="DIRECTORY",
        help="write the page as files instead of serving it; new or empty",
    )
    where.add_argument(
        "--port",
        type=values.whole_number(1),
        default=_PORT,
        metavar="N",
        help="where to serve (default: %(default)s)",
    )
    add_scan_options(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Index the folder, lay it out, and serve or write the map.

    Args:
        arguments: As parsed.

    Returns:
        0.

    Raises:
        MissingExtraError: If Embedding Atlas is not installed.
        InputError: If there is no such folder or image, the port is taken, or the directory cannot
            be written to.
        LibraryError: If nothing is indexed.
    """
    if find_spec("embedding_atlas") is None:
        raise MissingExtraError("map", "The map")
    if arguments.output is not None:
        _check_output(Path(arguments.output).expanduser())
    else:
        _check_port(arguments.port)
    labels = read_labels(arguments) if arguments.labels or arguments.labels_file else ()
    folder = arguments.folder or str(reference_directory())
    PhotoLibrary.open(folder)  # says what is wrong with it, before the model is loaded
    encoder = load_encoder(arguments)
    library = _indexed(folder, encoder, arguments)
    # Imported here: pandas and the projection take seconds to start.
    from clipkit.mapping.image_map import MapOptions, make_map

    options = MapOptions(labels, arguments.templates, has_thumbnails=not arguments.no_thumbnails)
    callbacks = Callbacks(say=note, progress_for=lambda label: progress_bar(label, unit="image"))
    shown = make_map(library, encoder, options, callbacks)
    if shown.num_unreadable:
        note(f"{shown.num_unreadable} images have changed since, and have no thumbnail")
    _show(shown, arguments)
    return 0


def _indexed(folder: str, encoder: Encoder, arguments: argparse.Namespace) -> PhotoLibrary:
    """Return the library of a folder after a sync, with at least one image."""
    library = PhotoLibrary.open_nearest(folder, encoder)
    report = sync_if_possible(library, folder, **sync_options(arguments))
    if report is not None:
        for line in filter(None, (*skipped_lines(report.skipped), missing_line(library, report))):
            note(line)
    if line := nothing_line(library, folder):
        raise LibraryError(line)
    return library


def _show(shown: "ImageMap", arguments: argparse.Namespace) -> None:
    from clipkit.mapping.atlas import make_app, serve, write_site

    if arguments.output is not None:
        directory = Path(arguments.output).expanduser()
        write_site(shown, directory)
        print(directory / "index.html")
        note("browsers open it from a web server only, such as  python -m http.server")
        return
    print(f"The map is at  http://localhost:{arguments.port}", flush=True)
    serve(make_app(shown), arguments.port)


def _check_output(directory: Path) -> None:
    """Refuse a directory with something in it before hours of work."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise InputError(f"{directory} is not an empty directory: name a new one for the map")


def _check_port(port: int) -> None:
    """Refuse a port that is taken before the folder is indexed."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else "ports end at 65535"
            raise InputError(
                f"the map cannot be served at port {port} ({reason}): give another --port"
            ) from error
