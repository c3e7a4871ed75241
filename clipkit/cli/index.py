"""``clipkit index``: build, update, watch, inspect or delete the index of a folder."""

import argparse
import shlex
from collections import Counter
from dataclasses import replace

from clipkit.bulk_embedding.embedding_files import open_embedding_files
from clipkit.cli import values
from clipkit.cli.index_options import (
    index_options,
    model_words,
    remove_index,
    resuming_command,
)
from clipkit.cli.indexing import add_scan_options, note_other_models, sync_with_bar
from clipkit.cli.model_options import add_model_options, load_encoder
from clipkit.cli.report_lines import missing_line, skipped_lines
from clipkit.cli.store_options import add_store_option
from clipkit.cli.terminal import note, progress_bar, to_json, warn
from clipkit.errors import InputError
from clipkit.inputs.crop_boxes import CROPS
from clipkit.plain_text import visible
from clipkit.progress import Callbacks
from clipkit.search.indexes import indexed_folders
from clipkit.search.library import PhotoLibrary, SyncReport
from clipkit.search.status import LibraryStatus
from clipkit.search.store.milvus.ann_index import INDEX_KINDS
from clipkit.search.store_load import send_embeddings
from clipkit.search.store_sync import RECALL_AT, StoreReport

_EPILOG = """\
examples:
  clipkit index ~/Pictures
  clipkit index ~/Pictures --exclude screenshots --exclude "*.gif"
  clipkit index ~/Pictures --crops 5
  clipkit index /media/stick/photos --here
  clipkit index --status
  clipkit index ~/Pictures --store milvus://localhost:19530/photos
  clipkit index ~/Pictures --from embeddings
  clipkit index --from embeddings --store milvus://localhost:19530/shards
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "index",
        help="index a folder of images, so that searching it is instant",
        description="Index a folder of images, or bring its index up to date with new, changed, "
        "moved and deleted ones. The index lies in your data directory (or $CLIPKIT_HOME), never "
        "among the images unless you say --here. Interrupt it whenever you like: the next run "
        "resumes.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "folder", type=values.path, metavar="FOLDER", nargs="?", help="a folder of images"
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        "--rebuild", action="store_true", help="delete the model's index first and build it again"
    )
    action.add_argument(
        "--status",
        action="store_true",
        help="show what the index of each model, or of --model, holds and what is new in the "
        "folder, and change nothing; without FOLDER: which folders are indexed",
    )
    action.add_argument(
        "--watch",
        action="store_true",
        help="keep running until Ctrl-C, and index images as they appear, change or go, the newest "
        "first",
    )
    action.add_argument(
        "--forget",
        action="store_true",
        help="delete the folder's indexes, or that of --model; the images stay, and the folder "
        "need not be there any more",
    )
    parser.add_argument(
        "--prune",
        action="store_true",
        help="also forget indexed images that may be missing only because their disk is not "
        "connected; otherwise they are kept, and the exit status is 1",
    )
    parser.add_argument(
        "--here",
        action="store_true",
        help="keep the index in the folder itself (.clipkit), so that it moves with the images; "
        "one in your data directory is moved there",
    )
    parser.add_argument(
        "--from",
        dest="embeddings",
        type=values.path,
        metavar="OUT",
        help="take embeddings from what clipkit embed wrote there, by the content of each image; "
        "only the others are embedded. Without FOLDER: send all of them to --store",
    )
    parser.add_argument(
        "--crops",
        type=int,
        choices=CROPS,
        help="rows an image in the index: 1, the whole, or 5, also its four overlapping corners, "
        "so that small subjects are found; that takes five times the time and room; kept for next "
        "time, and what is embedded stays",
    )
    add_scan_options(parser)
    add_store_option(
        parser,
        "also send the embeddings to a Milvus collection, made if there is none, and remove there "
        "what is gone; --rebuild and --forget delete it",
    )
    parser.add_argument(
        "--store-index",
        choices=INDEX_KINDS,
        metavar="KIND",
        help="how the store finds vectors: flat, ivf, hnsw or diskann (default: by their number)",
    )
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
    parser.add_argument("--strict", action="store_true", help="exit 1 if an image was skipped")
    add_model_options(parser, model=str)
    # For --status and --forget all models count if none is named.
    parser.set_defaults(run=run, model=None)


def run(arguments: argparse.Namespace) -> int:
    """Index and report.

    Args:
        arguments: As parsed.

    Returns:
        0; 1 if indexed images are missing, or one was skipped and --strict was given; 130 after
        Ctrl-C.
    """
    _check_options(arguments)
    if arguments.folder is None:
        is_to_send = arguments.embeddings is not None
        return _send_files(arguments) if is_to_send else _list_folders(arguments)
    if arguments.forget:
        return _forget(arguments)
    if arguments.status:
        return _print_statuses(arguments)
    PhotoLibrary.open(arguments.folder, keep_here=arguments.here)  # is there such a folder?
    arguments.model = values.model_name(arguments.model or "starter")
    if arguments.precision == "auto":
        arguments.precision = "fastest"  # half a minute of measuring pays off over many images
    encoder = load_encoder(arguments)
    if arguments.rebuild:
        remove_index(arguments, encoder)
    if arguments.store is not None:  # before hours of indexing
        remote = PhotoLibrary.open(arguments.folder, encoder, store=arguments.store)
        remote.check_store(crops=arguments.crops)
    library = PhotoLibrary.open(arguments.folder, encoder, keep_here=arguments.here)
    note_other_models(library)
    try:
        report = _sync(library, arguments)
        if arguments.store is not None:
            library = PhotoLibrary.open(arguments.folder, encoder, store=arguments.store)
            report = _send(library, report, arguments)
        _print_report(library, report, as_json=arguments.json)
    except KeyboardInterrupt:
        where = shlex.join([arguments.folder, *model_words(arguments)])
        note(
            f"interrupted: what is indexed so far is kept (images: {len(library)}) and can be "
            f"searched with  clipkit search QUERY {where} --no-indexing ; to resume, run  "
            f"{resuming_command(arguments)}"
            if arguments.store is None
            else "interrupted: what is indexed and what was sent so far is kept; to resume, run  "
            f"{resuming_command(arguments)}"
        )
        return 130
    if arguments.watch:
        return _watch(library, arguments)
    return 1 if report.missing or (report.skipped and arguments.strict) else 0


def _check_options(arguments: argparse.Namespace) -> None:
    if arguments.store_index is not None and arguments.store is None:
        raise InputError("--store-index is about a store: name it with --store")
    if arguments.store is not None and arguments.status:
        raise InputError("--status is of the folder's own index: leave out --store")
    if arguments.crops is not None and (
        arguments.folder is None or arguments.status or arguments.forget
    ):
        raise InputError("--crops is about indexing a folder: leave it out, or name the folder")
    if arguments.embeddings is None:
        return
    if arguments.folder is None and arguments.store is None:
        raise InputError(
            "an index is of a folder of images, which a search shows: give it, as in  clipkit "
            f"index FOLDER --from {arguments.embeddings} ; embeddings of shards and tables go into "
            "a store (--store URL)"
        )
    open_embedding_files(arguments.embeddings)  # are there such files?


def _send_files(arguments: argparse.Namespace) -> int:
    """Send ready embeddings to a store, without a folder or an index of its own."""
    files = open_embedding_files(arguments.embeddings)
    arguments.model = values.model_name(arguments.model or "starter")
    callbacks = Callbacks(say=note, warn=warn, progress_for=progress_bar)
    encoder = load_encoder(arguments)
    try:
        report = send_embeddings(
            files, encoder, arguments.store, index=arguments.store_index, callbacks=callbacks
        )
    except KeyboardInterrupt:
        note("interrupted: what was sent so far is kept; to resume, run the same command again")
        return 130
    print(to_json(report.to_dict()) if arguments.json else _stored_line(report), flush=True)
    return 0


def _watch(library: PhotoLibrary, arguments: argparse.Namespace) -> int:
    """Index what changes, and report it, until Ctrl-C; return the exit status."""
    note(f"watching {arguments.folder}; Ctrl-C ends it")
    try:
        for report in library.watch():
            if report.has_news:
                _print_report(library, report, as_json=arguments.json)
    except KeyboardInterrupt:
        note(f"stopped watching (images: {len(library)})")
    return 130


def _sync(library: PhotoLibrary, arguments: argparse.Namespace) -> SyncReport:
    return sync_with_bar(library, **index_options(arguments))


def _send(library: PhotoLibrary, report: SyncReport, arguments: argparse.Namespace) -> SyncReport:
    """Bring the store in step with the index, and report both."""
    callbacks = Callbacks(say=note, warn=warn, progress_for=progress_bar)
    return replace(report, stored=library.send(index=arguments.store_index, callbacks=callbacks))


def _forget(arguments: argparse.Namespace) -> int:
    if arguments.store is not None:
        PhotoLibrary.open(arguments.folder, store=arguments.store).remove_from_store()
        note(f"deleted the collection at {arguments.store}; the folder's own index stays")
        return 0
    libraries = _of_model(arguments)
    if not libraries:
        note(f"{arguments.folder} has no index: there is nothing to forget")
    for library in libraries:
        library.remove()
    if libraries:
        index = "index" if len(libraries) == 1 else f"{len(libraries)} indexes"
        note(f"forgot the {index} of {arguments.folder}; the images are untouched")
    return 0


def _of_model(arguments: argparse.Namespace) -> list[PhotoLibrary]:
    """Return the libraries of a folder: that of the requested model, or all."""
    libraries = PhotoLibrary.open_all(arguments.folder)
    if arguments.model is None or not libraries:
        return libraries
    chosen = [library for library in libraries if library.model == arguments.model]
    if not chosen:
        models = ", ".join(library.model for library in libraries)
        raise InputError(
            f"{arguments.folder} is not indexed with {arguments.model}: it is with {models}"
        )
    return chosen


def _list_folders(arguments: argparse.Namespace) -> int:
    """Print which folders are indexed."""
    if not arguments.status:
        raise InputError("which folder? Give one, as in  clipkit index ~/Pictures")
    folders = list(indexed_folders())
    for folder in folders:
        is_there = folder.is_dir()
        values = {"folder": str(folder), "is_there": is_there}
        print(to_json(values) if arguments.json else visible(str(folder)))
        if not is_there:
            note(
                f"{visible(str(folder))} is not there: connect its disk, or, if it is gone for "
                f"good, run  clipkit index {shlex.quote(str(folder))} --forget"
            )
    if not folders:
        note(
            "no folder is indexed in your data directory; one with --here tells of itself:  "
            "clipkit index FOLDER --status"
        )
    return 0


def _print_statuses(arguments: argparse.Namespace) -> int:
    """Print the status of each index of a folder."""
    folder = PhotoLibrary.open(arguments.folder)  # is there such a folder?
    for number, library in enumerate(_of_model(arguments) or [folder]):
        if number and not arguments.json:
            print()
        _print_status(library.status(), as_json=arguments.json)
    return 0


def _print_status(status: LibraryStatus, *, as_json: bool) -> None:
    values = status.to_dict()
    if as_json:
        print(to_json(values))
        return
    for name, value in values.items():
        shown = ", ".join(value) if isinstance(value, list) else str(value)
        print(f"{name:<15} {visible(shown)}")


def _stored_line(stored: StoreReport) -> str:
    line = (
        f"{visible(stored.url)}: {stored.sent} sent, {stored.removed} removed, "
        f"{stored.unchanged} unchanged, index {stored.index}"
    )
    if stored.recall is None:
        return line
    return f"{line}, whose recall@{RECALL_AT} of texts is {stored.recall:.3f}"


def _print_report(library: PhotoLibrary, report: SyncReport, *, as_json: bool) -> None:
    if as_json:
        print(to_json(report.to_dict()), flush=True)
        return
    listed = ", ".join(f"{number} {name}" for name, number in report.counts.items())
    listed += f", {len(report.skipped)} skipped"
    listed += f", {report.missing} missing" if report.missing else ""
    if report.cropped:
        listed += f", {report.cropped} given crops"
    if report.from_files is not None:
        listed += f", {report.from_files} with ready embeddings"
    print(f"{visible(str(library.folder))}: {listed}", flush=True)
    if report.stored is not None:
        print(_stored_line(report.stored), flush=True)
    for line in filter(None, [missing_line(library, report), *skipped_lines(report.skipped)]):
        note(line)
    reasons = Counter(left.reason for left in report.left_out)
    for reason, number in sorted(reasons.items()):
        note(f"left out: {number} x {reason}")
