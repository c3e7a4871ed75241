"""``clipkit doctor``: what could silently be wrong with a model, an index, a file or here."""

import argparse
from collections.abc import Iterator

from clipkit.cli import values
from clipkit.cli.model_options import add_engine_options
from clipkit.cli.quoting import quoted
from clipkit.cli.terminal import progress_bar, to_json
from clipkit.doctor.description import ModelDescription
from clipkit.doctor.diagnose import diagnose
from clipkit.doctor.health import Diagnosis
from clipkit.doctor.machine import diagnose_machine
from clipkit.errors import how_to_install
from clipkit.plain_text import visible
from clipkit.runtime.bundle import count_kept
from clipkit.runtime.compiled_autotune import installed_openvino

_EPILOG = """\
examples:
  clipkit doctor                                   the starter, and this machine
  clipkit doctor ViT-B-32/openai --precision bf16 --engine torch
  clipkit doctor ~/Pictures                        the index of a folder
  clipkit doctor ~/Pictures --model ViT-B-32/openai
  clipkit doctor calibration.json
  clipkit doctor pets.safetensors --model ViT-B-32/openai     a head or a concept
"""
_MARKS = {"ok": "ok", "remark": "remark", "problem": "PROBLEM"}
_LABEL_WIDTH = 31


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "doctor",
        help="find out what is silently wrong with a model, an index or this machine",
        description=(
            "Show what decides a model's embeddings, and check it: files, settings against those "
            "of published models, golden vectors, and what becomes of sample photographs. Of an "
            "indexed folder its index is checked, of a calibration, head or concept whose it is. "
            "Exits 1 if something is wrong. Nothing is changed."
        ),
        epilog=_EPILOG,
    )
    parser.add_argument(
        "name",
        metavar="WHAT",
        nargs="?",
        help='a model, as "clipkit models" lists it; an indexed folder; or the file of '
        "a calibration, a head or a concept (default: the starter, and this machine)",
    )
    parser.add_argument(
        "--model",
        type=values.model_name,
        metavar="NAME",
        help="the model that an index or a file shall be of (default: the one that made it)",
    )
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
    add_engine_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Diagnose and print.

    Args:
        arguments: As parsed.

    Returns:
        0; 1 if something is wrong.
    """
    with progress_bar("reading rows", unit="row") as progress:
        diagnosis = diagnose(
            arguments.name or "starter",
            model=arguments.model,
            device=arguments.device,
            precision=arguments.precision,
            engine=arguments.engine,
            progress=progress,
        )
    machine = diagnose_machine() if arguments.name is None else None
    found = [each for each in (diagnosis, machine) if each is not None]
    is_healthy = all(each.is_healthy for each in found)
    if arguments.json:
        content = diagnosis.to_dict()
        print(to_json(content if machine is None else {**content, "machine": machine.to_dict()}))
        return 0 if is_healthy else 1
    for each in found:
        for label, value in _lines(each):
            print(f"{label:<{_LABEL_WIDTH}} {visible(value)}")
    print(f"{'verdict':<{_LABEL_WIDTH}} {_verdict(found)}")
    return 0 if is_healthy else 1


def _lines(diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    """Yield what to print, as label and value; further lines of a value have an empty label."""
    yield diagnosis.kind, diagnosis.name
    if diagnosis.model is not None:
        yield from _model_lines(diagnosis.model)
    for check in diagnosis.checks:
        yield f"{check.name}", f"{_MARKS[check.verdict]}: {check.figure}"
        if check.advice:
            yield "", check.advice


def _verdict(found: list[Diagnosis]) -> str:
    num_problems = sum(len(each.problems) for each in found)
    num_remarks = sum(len(each.remarks) for each in found)
    remarks = f"; {num_remarks} to look at" if num_remarks else ""
    if num_problems:
        return f"{num_problems} wrong{remarks}"
    return f"nothing wrong was found{remarks}"


def _model_lines(model: ModelDescription) -> Iterator[tuple[str, str]]:
    image, text = model.image, model.text
    yield "weights", str(model.weights or "none: a compiled model alone")
    yield "space", f"{model.space_id}, {model.embed_dim} dimensions"
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
    yield "scores", model.scoring
    yield "engine", f"{model.engine} on {model.device} in {model.precision}"
    yield from _compilation_lines(model)


def _compilation_lines(model: ModelDescription) -> Iterator[tuple[str, str]]:
    compilation = model.compilation
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
    if kept := count_kept(compilation.kept):
        yield "", f"in int8, {kept}"
    for name, refusal in compilation.refused.items():
        yield "", f"not {name}: {refusal.reason}"
    if compilation.trial is not None:
        yield "", f"fastest here: {compilation.trial}"
    if not installed_openvino():
        yield "", f"not tried: OpenVINO, which may be faster; {how_to_install('openvino')}"
    elif compilation.trial is None:
        yield "", f"OpenVINO was not tried: run  clipkit compile {quoted(model.name)}"


def _three(values: tuple[float, float, float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
