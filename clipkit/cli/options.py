"""Options that several commands share, and loading the encoder and syncing the index for them."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from clipkit.cli import values
from clipkit.cli.quoting import quoted
from clipkit.cli.terminal import note, progress_bar, warn
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.engines import fits_compiled
from clipkit.encoder.loading import compile_model, load
from clipkit.errors import (
    CheckpointError,
    ImageReadError,
    LibraryBusyError,
    LibraryError,
    OfflineError,
)
from clipkit.models.sources import resolve_source
from clipkit.runtime.cache import find_compiled, remembered_refusal
from clipkit.search.library import PhotoLibrary, SyncReport

if TYPE_CHECKING:
    from clipkit.search.indexing_estimate import IndexingEstimate
    from clipkit.search.indexing_order import IndexingOrder
    from clipkit.search.sync_progress import SyncProgress


def add_model_options(
    parser: argparse.ArgumentParser, *, model: Callable[[str], str] = values.model_name
) -> None:
    """Add --model, --device, --precision, --engine, --batch-size and --max-megapixels.

    Args:
        parser: Of a command.
        model: Checks the name of a model. A command that deletes old indexes must also take the
            names of models that no longer exist.
    """
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        default="starter",
        type=model,
        metavar="NAME",
        help='which model; "clipkit models" lists them (default: the embedded starter)',
    )
    add_encoder_options(group)


def add_encoder_options(parser: "argparse._ActionsContainer") -> None:
    """Add --device, --precision, --engine, --batch-size and --max-megapixels."""
    add_engine_options(parser)
    parser.add_argument(  # this and the next as rclip has them
        "--batch-size",
        "--indexing-batch-size",
        "-b",
        type=values.whole_number(1),
        metavar="N",
        help="images per batch (default: what suits the engine)",
    )
    parser.add_argument(
        "--max-megapixels",
        "--max-image-megapixels",
        type=values.megapixels,
        metavar="N",
        help='refuse images of more pixels than that; "none" refuses none (default, or "auto": a '
        "share of the machine's memory)",
    )


def add_engine_options(parser: "argparse._ActionsContainer") -> None:
    """Add --device, --precision and --engine."""
    parser.add_argument(
        "--device",
        default="auto",
        type=values.device,
        metavar="DEVICE",
        help="auto, cpu, cuda, cuda:1 or mps",
    )
    parser.add_argument(
        "--precision",
        default="auto",
        choices=("auto", "fastest", "fp32", "bf16", "fp16", "int8"),
        help="number format (default: the fastest on this machine that passes the parity check)",
    )
    parser.add_argument(
        "--engine",
        default="auto",
        choices=("auto", "onnx", "openvino", "torch"),
        help="what runs the model: ONNX Runtime, OpenVINO or torch",
    )


def add_scan_options(parser: "argparse._ActionsContainer") -> None:
    """Add --exclude and --include-hidden, which an index keeps for next time."""
    parser.add_argument(
        "--exclude",
        "--exclude-dir",  # rclip's
        action="append",
        metavar="PATTERN",
        help="leave out files and folders of this name, or with a / of this path inside FOLDER; "
        '*, ? and ** work; may be repeated; kept for next time, --exclude "" clears it',
    )
    parser.add_argument(
        "--include-hidden",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="index names that start with a dot too; kept for next time",
    )


def load_encoder(
    arguments: argparse.Namespace, *, cache_texts: bool | Literal["memory"] = True
) -> Encoder:
    """Return the encoder that the options of add_model_options select.

    Args:
        arguments: As parsed.
        cache_texts: As for :func:`clipkit.load`.

    Returns:
        The encoder.
    """
    failure = _compile_if_it_pays(arguments)
    encoder = load(
        arguments.model,
        device=arguments.device,
        precision=arguments.precision,
        engine=arguments.engine,
        cache_texts=cache_texts,
    )
    if failure is not None:  # said only of a model that loads; else loading has said what is wrong
        note(f"not compiled, running on torch: {failure}")
    encoder.batch_size = arguments.batch_size
    if arguments.max_megapixels is not None:
        # Above what any image has: a file says its size in 32 bits a side at most.
        encoder.max_pixels = max(1, int(min(arguments.max_megapixels, 2.0**44) * 1e6))
    return encoder


def _compile_if_it_pays(arguments: argparse.Namespace) -> CheckpointError | None:
    """Compile the model of a command, unless it is compiled, cannot be, or --engine says otherwise.

    On a CPU it always pays: importing torch and open_clip takes longer than many a command. Returns
    why compiling has failed, None if it has not.
    """
    if not fits_compiled(arguments.engine, arguments.device, arguments.precision):
        return None
    source = resolve_source(arguments.model)
    if find_compiled(source) is not None or remembered_refusal(source) is not None:
        return None
    if not (find_spec("torch") and find_spec("onnxscript")):
        return None  # loading it says what is missing
    if arguments.device == "auto" and _has_accelerator():
        return None

    note(
        f"compiling {source.name}, once: from then on it starts in about a second, without torch "
        "(--engine torch does without)"
    )
    try:
        compile_model(arguments.model, progress=lambda step: note(f"  {step}"))
    except OfflineError:
        return None  # loading it says what is missing
    except CheckpointError as error:
        return error
    return None


def _has_accelerator() -> bool:
    from clipkit.runtime.torch_device import choose_device

    return choose_device("auto").type != "cpu"


def check_is_indexed(folder: str) -> None:
    """Refuse a folder that is not indexed, before a model is loaded for it.

    Args:
        folder: As the user wrote it.

    Raises:
        InputError: If there is no such folder.
        LibraryError: If neither it nor a folder that it lies in has been indexed.
    """
    if not PhotoLibrary.open_nearest(folder).is_indexed:
        raise LibraryError(f"{folder} has not been indexed: run  clipkit index {quoted(folder)}")


def sync_if_possible(
    library: PhotoLibrary,
    folder: str,
    *,
    exclude: Sequence[str] | None = None,
    include_hidden: bool | None = None,
    on_commit: "Callable[[SyncProgress], None] | None" = None,
) -> SyncReport | None:
    """Bring the index up to date, with a progress bar on stderr.

    If another process is writing, or the index cannot be written, a note says so and what is
    indexed already is used.

    Args:
        library: The library.
        folder: Its folder as the user wrote it.
        exclude: What to leave out, as for `PhotoLibrary.sync`.
        include_hidden: As for `PhotoLibrary.sync`.
        on_commit: As for `PhotoLibrary.sync`.

    Returns:
        What was done; None if nothing could be.

    Raises:
        LibraryError: If nothing is indexed yet.
    """
    note_other_models(library)
    try:
        return sync_with_bar(
            library, exclude=exclude, include_hidden=include_hidden, on_commit=on_commit
        )
    except LibraryError as error:
        if not library.is_indexed:
            raise
        is_busy = isinstance(error, LibraryBusyError)
        reason = f"another process is indexing {folder}" if is_busy else str(error)
        note(f"{reason}: using what is indexed so far")
        return None


def sync_with_bar(
    library: PhotoLibrary,
    *,
    exclude: Sequence[str] | None = None,
    include_hidden: bool | None = None,
    prune: bool = False,
    order: "IndexingOrder" = "spread",
    on_commit: "Callable[[SyncProgress], None] | None" = None,
) -> SyncReport:
    """Bring the index up to date; if that takes long, say so and show a progress bar.

    Args:
        library: The library.
        exclude: As for `PhotoLibrary.sync`, and so are the others.
        include_hidden: Whether names that start with a dot count.
        prune: Whether to forget missing images.
        order: Which new images come first.
        on_commit: Called after each commit.

    Returns:
        What was done.

    Raises:
        LibraryError: If nothing can be.
    """

    def announce(estimate: "IndexingEstimate") -> None:
        note(f"{estimate}; Ctrl-C keeps what is done")

    with progress_bar("indexing") as progress:
        return library.sync(
            progress=progress,
            exclude=exclude,
            include_hidden=include_hidden,
            prune=prune,
            order=order,
            on_estimate=announce,
            on_commit=on_commit,
        )


def note_other_models(library: PhotoLibrary) -> None:
    """Print a note that a folder gets one more index, if it has only those of other models."""
    others = [] if library.is_indexed else library.other_models
    if others:
        note(
            f"{library.folder} is indexed with {', '.join(others)}; {library.model} makes an index "
            "of its own beside that"
        )


def missing_line(library: PhotoLibrary, report: SyncReport) -> str:
    """Return a message about indexed images that are missing, "" if there are none."""
    if not report.missing:
        return ""
    are = "image is" if report.missing == 1 else "images are"
    return (
        f"{report.missing} indexed {are} not there, as when a disk is not connected: kept, and "
        "left out of searches until it is back; if gone for good, run"
        f"  clipkit index {quoted(str(library.indexed_folder))} --prune"
    )


def nothing_line(library: PhotoLibrary, folder: str) -> str:
    """Return a message on why a library has no images to work on.

    Args:
        library: The library.
        folder: Its folder as the user wrote it.

    Returns:
        A sentence, "" if it has some.
    """
    if len(library):
        return ""
    return absent_line(library.num_missing, folder) or f"no images found in {folder}"


def absent_line(num_missing: int, folder: str) -> str:
    """Return a message for a library of which every indexed image is missing.

    Args:
        num_missing: How many indexed images are not there.
        folder: As the user wrote it.

    Returns:
        A sentence, "" if none is missing.
    """
    if not num_missing:
        return ""
    return (
        f"none of the {num_missing} images indexed in {folder} is there: connect their disk and "
        "run the same command again"
    )


def print_shortcomings(skipped: Sequence[ImageReadError], warnings: Iterable[str]) -> None:
    """Print on stderr which images a report is without, and what it warns of."""
    for line in skipped_lines(skipped):
        note(line)
    for warning in warnings:
        warn(warning)


def skipped_lines(skipped: Sequence[ImageReadError], *, most: int = 20) -> list[str]:
    """Return the lines to print about images that could not be read.

    Args:
        skipped: One error an image.
        most: How many are named; the rest is counted.

    Returns:
        Lines; none if nothing was skipped.
    """
    if not skipped:
        return []
    noun = "image" if len(skipped) == 1 else "images"
    lines = [f"{len(skipped)} {noun} skipped:"]
    lines += [f"  {error}" for error in skipped[:most]]
    if len(skipped) > most:
        lines.append(f"  … and {len(skipped) - most} more")
    return lines
