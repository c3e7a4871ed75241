"""Options that several commands share."""

import argparse
from collections.abc import Sequence

from clipkit.cli.compiling import compile_if_it_pays
from clipkit.encoder import Encoder
from clipkit.errors import ImageReadError, InputError
from clipkit.loading import load


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add --model, --device, --precision, --engine and --max-megapixels."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        default="starter",
        metavar="NAME",
        help='which model; "clipkit models" lists them (default: the embedded starter)',
    )
    add_engine_options(group)
    group.add_argument(
        "--max-megapixels",
        type=float,
        metavar="N",
        help="refuse pictures that decode to more (default: a share of the machine's memory)",
    )


def add_engine_options(parser: "argparse._ActionsContainer") -> None:
    """Add --device, --precision and --engine."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    parser.add_argument(
        "--precision",
        default="auto",
        choices=("auto", "fastest", "fp32", "bf16", "fp16", "int8"),
        help="number format (default: the fastest here that changes nothing noticeably)",
    )
    parser.add_argument(
        "--engine", default="auto", choices=("auto", "onnx", "torch"), help="what computes"
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
    if arguments.max_megapixels is not None:
        if not arguments.max_megapixels > 0:
            raise InputError(f"--max-megapixels must be above 0, got {arguments.max_megapixels}")
        encoder.max_pixels = int(arguments.max_megapixels * 1e6)
    return encoder


def skipped_lines(skipped: Sequence[ImageReadError], *, most: int = 20) -> list[str]:
    """Return what to print about pictures that could not be read.

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
