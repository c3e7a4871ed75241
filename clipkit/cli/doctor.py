"""``clipkit doctor``: show what determines a model's embeddings, and check them on this machine."""

import argparse
from collections.abc import Iterator

from clipkit.cli.options import add_engine_options
from clipkit.cli.terminal import to_json, visible
from clipkit.doctor import Diagnosis, diagnose

_EPILOG = """\
examples:
  clipkit doctor
  clipkit doctor ViT-B-32/openai --precision bf16 --engine torch
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "doctor",
        help="show what decides a model's embeddings, and check them",
        description=(
            "Show everything that decides a model's embeddings, and compare those of this machine "
            "with those of torch in float32 when the model was compiled. Exits 1 if something is "
            "wrong."
        ),
        epilog=_EPILOG,
    )
    parser.add_argument(
        "model",
        metavar="NAME",
        nargs="?",
        default="starter",
        help='a model, as "clipkit models" lists it',
    )
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
    add_engine_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Diagnose and print.

    Args:
        arguments: As parsed.

    Returns:
        0; 1 if something is wrong with the model.
    """
    diagnosis = diagnose(
        arguments.model,
        device=arguments.device,
        precision=arguments.precision,
        engine=arguments.engine,
    )
    if arguments.json:
        print(to_json(diagnosis.to_dict()))
    else:
        for label, value in _lines(diagnosis):
            print(f"{label:<16} {visible(value)}")
    return 0 if diagnosis.is_healthy else 1


def _lines(diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    """Yield what to print, as label and value; further lines of a value have an empty label."""
    image, text = diagnosis.image, diagnosis.text
    yield "model", diagnosis.name
    yield "weights", str(diagnosis.weights or "none: a compiled model alone")
    yield "space", f"{diagnosis.space_id}, {diagnosis.embed_dim} dimensions"
    yield "image tower", f"{image.tower}; activation: {image.activation}"
    height, width = image.size
    resizing = {"shortest": "shortest side, then centre crop", "longest": "longest side, then pad"}
    resize_mode = resizing.get(image.resize_mode, "squash")
    yield "images", f"{height} x {width} pixels, {image.interpolation}, resize: {resize_mode}"
    yield "", f"mean {_three(image.mean)}, std {_three(image.std)}"
    yield "text tower", f"{text.tower}; activation: {text.activation}"
    case = "lower case" if text.is_lower_cased else "case kept"
    yield "texts", f"{text.context_length} tokens, filled up with token {text.pad_id}"
    yield "", f"cleaning: {text.cleaning}, {case}"
    yield "scores", diagnosis.scoring
    yield "engine", f"{diagnosis.engine} on {diagnosis.device} in {diagnosis.precision}"
    yield from _compilation_lines(diagnosis)
    yield "golden vectors", str(diagnosis.golden or "none to compare with")
    for remark in diagnosis.remarks:
        yield "remark", remark
    for problem in diagnosis.problems:
        yield "PROBLEM", problem
    yield "verdict", "nothing wrong was found" if diagnosis.is_healthy else "embeddings are wrong"


def _compilation_lines(diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    compilation = diagnosis.compilation
    if compilation is None:
        yield "compiled", "no"
        return
    yield "compiled", str(compilation.directory)
    for name, parity in compilation.precisions.items():
        yield "", f"{name}: {parity}"
        yield (
            "",
            (
                f"{' ' * len(name)}  same first image for {parity.same_first_image:.0%} of the "
                f"texts, {parity.top5_overlap:.0%} of the first five"
            ),
        )
    for name, refusal in compilation.refused.items():
        yield "", f"not {name}: {refusal.reason}"
    if compilation.trial is not None:
        yield "", f"fastest here: {compilation.trial}"


def _three(values: tuple[float, float, float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
