"""``clipkit index``: a folder's index brought in step with its pictures."""

import argparse
import json
import shlex

from clipkit.cli.options import add_model_options, load_encoder, skipped_lines
from clipkit.cli.progress import note, progress_bar
from clipkit.search.library import PhotoLibrary, SyncReport


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "index",
        help="index a folder of pictures, so that searching it is instant",
        description="Bring a folder's index in step with its pictures: new, changed and deleted "
        "ones. The index lies in your data directory (or $CLIPKIT_HOME), never among the pictures. "
        "Interrupt it whenever you like: the next run goes on from there.",
    )
    parser.add_argument("folder", metavar="FOLDER", help="a folder of pictures")
    parser.add_argument(
        "--rebuild", action="store_true", help="forget the folder's index first and make it anew"
    )
    parser.add_argument(
        "--exclude",
        action="append",
        metavar="PATTERN",
        help="leave out files and folders of this name, or with a / of this path inside FOLDER; "
        '* and ? work; may be repeated; kept for next time, --exclude "" clears it',
    )
    parser.add_argument(
        "--include-hidden",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="index names that start with a dot too; kept for next time",
    )
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
    parser.add_argument("--strict", action="store_true", help="exit 1 if a picture was skipped")
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Index and report.

    Args:
        arguments: As parsed.

    Returns:
        0; 1 if a picture was skipped and --strict was given; 130 after Ctrl-C.
    """
    PhotoLibrary.open(arguments.folder)  # says at once if there is no such folder
    encoder = load_encoder(arguments)
    if arguments.rebuild:
        PhotoLibrary.open(arguments.folder).remove()
    library = PhotoLibrary.open(arguments.folder, encoder)
    try:
        with progress_bar("indexing") as progress:
            report = library.sync(
                progress=progress,
                exclude=arguments.exclude,
                include_hidden=arguments.include_hidden,
            )
    except KeyboardInterrupt:
        folder = shlex.quote(arguments.folder)
        note(
            f"interrupted: what is indexed so far is kept (pictures: {len(library)}) and can be "
            f"searched with  clipkit search QUERY {folder} --no-indexing ; to go on, run  "
            f"clipkit index {folder}"
        )
        return 130
    _print_report(library, report, as_json=arguments.json)
    return 1 if report.skipped and arguments.strict else 0


def _print_report(library: PhotoLibrary, report: SyncReport, *, as_json: bool) -> None:
    counts = {
        "added": report.added,
        "changed": report.changed,
        "removed": report.removed,
        "unchanged": report.unchanged,
    }
    if as_json:
        skipped = [{"path": error.path, "reason": error.reason} for error in report.skipped]
        whole = {"folder": str(library.folder), **counts, "skipped": skipped}
        print(json.dumps(whole, ensure_ascii=False))
        return
    listed = ", ".join(f"{number} {name}" for name, number in counts.items())
    print(f"{library.folder}: {listed}, {len(report.skipped)} skipped")
    for line in skipped_lines(report.skipped):
        note(line)
