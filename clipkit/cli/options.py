"""Options that several commands share."""

import argparse
from collections.abc import Callable, Sequence

from clipkit.cli import values
from clipkit.cli.compiling import compile_if_it_pays
from clipkit.encoder import Encoder
from clipkit.errors import ImageReadError
from clipkit.loading import load


def add_model_options(
    parser: argparse.ArgumentParser, *, model: Callable[[str], str] = values.model_name
) -> None:
    """Add --model, --device, --precision, --engine, --batch-size and --max-megapixels.

    Args:
        parser: Of a command.
        model: Checks the name of a model; a command that deletes what an old one left must take
            the names of models that are gone.
    """
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        default="starter",
        type=model,
        metavar="NAME",
        help='which model; "clipkit models" lists them (default: the embedded starter)',
    )
    add_engine_options(group)
    group.add_argument(  # this and the next as rclip has them
        "--batch-size",
        "--indexing-batch-size",
        "-b",
        type=values.whole_number(1),
        metavar="N",
        help="images that go through the model at once (default: what suits the engine)",
    )
    group.add_argument(
        "--max-megapixels",
        "--max-image-megapixels",
        type=values.megapixels,
        metavar="N",
        help='refuse images that decode to more; "none" refuses none (default, or "auto": a share '
        "of the machine's memory)",
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
        help="number format (default: the fastest here that changes nothing noticeably)",
    )
    parser.add_argument(
        "--engine", default="auto", choices=("auto", "onnx", "torch"), help="what computes"
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


def load_encoder(arguments: argparse.Namespace) -> Encoder:
    """Return the encoder that the options of add_model_options ask for."""
    compile_if_it_pays(arguments)
    encoder = load(
        arguments.model,
        device=arguments.device,
        precision=arguments.precision,
        engine=arguments.engine,
    )
    encoder.image_batch = arguments.batch_size
    if arguments.max_megapixels is not None:
        # Above what any picture has: a file says its size in 32 bits a side at most.
        encoder.max_pixels = max(1, int(min(arguments.max_megapixels, 2.0**44) * 1e6))
    return encoder


def skipped_lines(skipped: Sequence[ImageReadError], *, most: int = 20) -> list[str]:
    """Return what to print about images that could not be read.

    Args:
        skipped: One error a picture.
        most: How many are named; the rest is counted.

    Returns:
        Lines; none if nothing was skipped.
    """
    if not skipped:
        return []
    noun = "picture" if len(skipped) == 1 else "pictures"
    lines = [f"{len(skipped)} {noun} skipped:"]
    lines += [f"  {error}" for error in skipped[:most]]
    if len(skipped) > most:
        lines.append(f"  … and {len(skipped) - most} more")
    return lines
