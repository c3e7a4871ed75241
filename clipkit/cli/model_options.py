"""The options of every command that runs a model, and loading the encoder that they select."""

import argparse
from collections.abc import Callable
from importlib.util import find_spec
from typing import Literal

from clipkit.cli import values
from clipkit.cli.terminal import note
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.engines import fits_compiled
from clipkit.encoder.loading import compile_model, load
from clipkit.errors import CheckpointError, OfflineError
from clipkit.models.sources import resolve_source
from clipkit.runtime.cache import find_compiled, remembered_refusal


def add_model_options(
    parser: argparse.ArgumentParser,
    *,
    model: Callable[[str], str] = values.model_name,
    engine: str = "--engine",
) -> None:
    """Add --model, --device, --precision, --engine, --batch-size and --max-megapixels.

    Args:
        parser: Of a command.
        model: Checks the name of a model. A command that deletes old indexes must also take the
            names of models that no longer exist.
        engine: What --engine is called, where the command has another one.
    """
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        default="starter",
        type=model,
        metavar="NAME",
        help='which model; "clipkit models" lists them (default: the embedded starter)',
    )
    add_encoder_options(group, engine=engine)


def add_encoder_options(parser: "argparse._ActionsContainer", *, engine: str = "--engine") -> None:
    """Add --device, --precision, --engine, --batch-size and --max-megapixels."""
    add_engine_options(parser, engine=engine)
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


def add_engine_options(parser: "argparse._ActionsContainer", *, engine: str = "--engine") -> None:
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
        engine,
        dest="engine",
        default="auto",
        choices=("auto", "onnx", "openvino", "torch"),
        help="what runs the model: ONNX Runtime, OpenVINO or torch",
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
