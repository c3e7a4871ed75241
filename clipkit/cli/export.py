"""``clipkit export``: write the embeddings of a folder in formats that other programs read."""

import argparse
from pathlib import Path

from clipkit.cli import values
from clipkit.cli.report_lines import nothing_line
from clipkit.cli.terminal import note
from clipkit.errors import LibraryError
from clipkit.search.library import PhotoLibrary

_EPILOG = """\
examples:
  clipkit export ~/Pictures --output embeddings
  clipkit export ~/Pictures --output embeddings --table jsonl
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "export",
        help="write a folder's embeddings to open formats",
        description=(
            "Write what is indexed of a folder: embeddings.npy (float32, one row per image), a "
            "table with the image of each row, and export.json with the model. Nothing but an "
            "earlier export is overwritten."
        ),
        epilog=_EPILOG,
    )
    parser.add_argument("folder", type=values.path, metavar="FOLDER", help="an indexed folder")
    parser.add_argument(
        "--output",
        "-o",
        type=values.path,
        metavar="DIRECTORY",
        required=True,
        help="where to: new, empty, or exported to before",
    )
    parser.add_argument(
        "--table",
        choices=("parquet", "jsonl"),
        help="the format of the table (default: parquet if pyarrow is installed)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Export, and print the files that were written.

    Args:
        arguments: As parsed.

    Returns:
        0.
    """
    library = PhotoLibrary.open_nearest(arguments.folder)
    if library.is_indexed and not len(library):
        # An earlier export may lie there, and may be all that is left.
        raise LibraryError(f"{nothing_line(library, arguments.folder)}; nothing was written")
    report = library.export(Path(arguments.output).expanduser(), table=arguments.table)
    for path in report.files:
        print(path)
    note(
        f"exported: {report.num_images} images, {report.embed_dim} dimensions, of {report.model} "
        f"(space {report.space_id})"
    )
    return 0
