"""``clipkit index``: a folder's index brought in step with its pictures, kept so, or looked at."""

import argparse
import dataclasses
import shlex
from collections import Counter

from clipkit.cli.options import (
    add_model_options,
    add_scan_options,
    load_encoder,
    skipped_lines,
)
from clipkit.cli.progress import note, progress_bar
from clipkit.cli.stdout import to_json, visible
from clipkit.errors import InputError
from clipkit.search.library import PhotoLibrary, SyncReport
from clipkit.search.status import LibraryStatus, indexed_folders

_EPILOG = """\
examples:
  clipkit index ~/Pictures
  clipkit index ~/Pictures --exclude screenshots --exclude "*.gif"
  clipkit index /media/stick/photos --here
  clipkit index --status
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "index",
        help="index a folder of pictures, so that searching it is instant",
        description="Bring a folder's index in step with its pictures: new, changed, moved and "
        "deleted ones. The index lies in your data directory (or $CLIPKIT_HOME), never among the "
        "pictures unless you say --here. Interrupt it whenever you like: the next run resumes.",
        epilog=_EPILOG,
    )
    parser.add_argument("folder", metavar="FOLDER", nargs="?", help="a folder of pictures")
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        "--rebuild", action="store_true", help="forget the folder's index first and make it anew"
    )
    action.add_argument(
        "--status",
        action="store_true",
        help="say what the index holds and how far it lags behind, and change nothing; without "
        "FOLDER: which folders are indexed",
    )
    action.add_argument(
        "--watch",
        action="store_true",
        help="go on until Ctrl-C: pictures that appear, change or go are seen to at once",
    )
    action.add_argument(
        "--forget", action="store_true", help="delete the folder's index; the pictures stay"
    )
    parser.add_argument(
        "--here",
        action="store_true",
        help="keep the index in the folder itself (.clipkit), so that it moves with the pictures; "
        "one in your data directory is taken along",
    )
    add_scan_options(parser)
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
    if arguments.folder is None:
        return _list_folders(arguments)
    library = PhotoLibrary.open(arguments.folder, here=arguments.here)  # is there such a folder?
    if arguments.status:
        _print_status(library.status(), as_json=arguments.json)
        return 0
    if arguments.forget:
        _forget(library)
        return 0
    if arguments.precision == "auto":
        arguments.precision = "fastest"  # over many pictures half a minute of measuring pays
    encoder = load_encoder(arguments)
    if arguments.rebuild:
        library.remove()
    library = PhotoLibrary.open(arguments.folder, encoder, here=arguments.here)
    try:
        report = _sync(library, arguments)
        _print_report(library, report, as_json=arguments.json)
        if arguments.watch:
            note(f"watching {arguments.folder}; Ctrl-C ends it")
            for report in library.watch():
                if report.has_news:
                    _print_report(library, report, as_json=arguments.json)
    except KeyboardInterrupt:
        folder = shlex.quote(arguments.folder)
        note(
            f"interrupted: what is indexed so far is kept (pictures: {len(library)}) and can be "
            f"searched with  clipkit search QUERY {folder} --no-indexing ; to go on, run  "
            f"clipkit index {folder}"
        )
        return 130
    return 1 if report.skipped and arguments.strict else 0


def _sync(library: PhotoLibrary, arguments: argparse.Namespace) -> SyncReport:
    with progress_bar("indexing") as progress:
        return library.sync(
            progress=progress,
            exclude=arguments.exclude,
            include_hidden=arguments.include_hidden,
        )


def _forget(library: PhotoLibrary) -> None:
    if not library.is_indexed:
        note(f"{library.folder} has no index: there is nothing to forget")
        return
    library.remove()
    note(f"forgot the index of {library.folder}; the pictures are untouched")


def _list_folders(arguments: argparse.Namespace) -> int:
    """Print which folders are indexed."""
    if not arguments.status:
        raise InputError("which folder? Give one, as in  clipkit index ~/Pictures")
    folders = [str(folder) for folder in indexed_folders()]
    for folder in folders:
        print(to_json({"folder": folder}) if arguments.json else visible(folder))
    if not folders:
        note("no folder is indexed")
    return 0


def _print_status(status: LibraryStatus, *, as_json: bool) -> None:
    values = dataclasses.asdict(status)
    for name in ("folder", "location"):
        values[name] = str(values[name])
    if as_json:
        print(to_json(values))
        return
    for name, value in values.items():
        shown = ", ".join(value) if isinstance(value, tuple) else str(value)
        print(f"{name:<15} {visible(shown)}")


def _print_report(library: PhotoLibrary, report: SyncReport, *, as_json: bool) -> None:
    counts = {
        "added": report.added,
        "changed": report.changed,
        "moved": report.moved,
        "removed": report.removed,
        "unchanged": report.unchanged,
    }
    if as_json:
        skipped = [{"path": error.path, "reason": error.reason} for error in report.skipped]
        left_out = [left._asdict() for left in report.left_out]
        folder = str(library.folder)
        whole = {"folder": folder, **counts, "skipped": skipped, "left_out": left_out}
        print(to_json(whole), flush=True)
        return
    listed = ", ".join(f"{number} {name}" for name, number in counts.items())
    print(f"{visible(str(library.folder))}: {listed}, {len(report.skipped)} skipped", flush=True)
    for line in skipped_lines(report.skipped):
        note(line)
    reasons = Counter(left.reason for left in report.left_out)
    for reason, number in sorted(reasons.items()):
        note(f"left out: {number} x {reason}")
