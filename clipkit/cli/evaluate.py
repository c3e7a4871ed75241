"""``clipkit evaluate``: how good a model is on the user's own data."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from clipkit.cli import values
from clipkit.cli.evaluation_options import (
    add_evaluation_options,
    evaluation_bar,
    evaluation_options,
)
from clipkit.cli.model_options import add_model_options, load_encoder
from clipkit.cli.outputs import OutputFile
from clipkit.cli.pair_options import add_pair_options
from clipkit.cli.report_lines import print_shortcomings
from clipkit.cli.terminal import note, print_tables, to_json, warn
from clipkit.errors import InputError
from clipkit.progress import Callbacks

if TYPE_CHECKING:
    from clipkit.evaluation.report import EvaluationReport

_EPILOG = """\
examples:
  clipkit evaluate pets/                                  accuracy of class folders by their names
  clipkit evaluate pets/ --templates photo --templates imagenet7 --diagram pets.png
  clipkit evaluate labels.csv --label-column species --json > pets.json
  clipkit evaluate captions.csv                           recall@k of images and captions
  clipkit evaluate ~/Pictures --queries queries.json      search: mAP, nDCG, recall@k
  clipkit evaluate pets/ --calibrate pets.json            for clipkit classify --calibration
  clipkit evaluate pets/test --train pets/train --shots 16
  clipkit evaluate https://huggingface.co/datasets/clip-benchmark/wds_cifar10

the JSON has CLIP_benchmark's form and names; what its form has no place for is under "clipkit".
Images are embedded once: interrupted, the same command resumes; other templates take seconds
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure a model on your own data",
        description="Measure a model on labelled images, images with captions, or queries with\n"
        "their right answers. Nothing is trained but, if asked for, a linear probe.",
        epilog=_EPILOG,
    )
    add_pair_options(parser, split="test")
    add_evaluation_options(parser)
    parser.add_argument(
        "--diagram",
        type=values.path,
        metavar="FILE.png",
        help="draw accuracy over confidence (reliability diagram); or FILE.svg, FILE.pdf",
    )
    parser.add_argument(
        "--calibrate",
        type=values.path,
        metavar="FILE.json",
        help="fit the probabilities to these images and write that for clipkit classify "
        "--calibration; the report says what it is worth on images it was not fitted on",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="let --diagram and --calibrate replace a file that another program wrote",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--strict", action="store_true", help="exit 1 if an image was skipped")
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate and print.

    Args:
        arguments: As parsed.

    Returns:
        0; or 1 if an image was skipped and --strict was given.

    Raises:
        InputError: If the data do not fit the task, or a file that is asked for cannot be written.
    """
    # Imported here, so that the help of all commands starts without them.
    from clipkit.evaluation.evaluate import evaluate
    from clipkit.evaluation.reliability_diagram import draw_reliability_diagram

    diagram, calibration = _diagram(arguments), _calibration(arguments)
    options = replace(evaluation_options(arguments), calibrate=calibration is not None)
    encoder = load_encoder(arguments)
    callbacks = Callbacks(say=note, warn=warn, progress_for=evaluation_bar)
    report = evaluate(encoder, str(arguments.pairs), options, callbacks=callbacks)
    if calibration is not None and report.calibration is not None:
        calibration.write_text([report.calibration.to_text()])
    if diagram is not None and report.reliability:
        title, kind = f"{report.model}, {report.data}", diagram.path.suffix[1:].lower()
        diagram.write_bytes([draw_reliability_diagram(report.reliability, title, kind)])
    elif diagram is not None:
        warn(f"{diagram.path} is not drawn: {report.task} has no confidence")
    _print(report, is_json=arguments.json)
    return 1 if report.skipped and arguments.strict else 0


def _diagram(arguments: argparse.Namespace) -> OutputFile | None:
    from clipkit.evaluation.reliability_diagram import SOFTWARE, diagram_format

    if arguments.diagram is None:
        return None
    path = Path(arguments.diagram)
    diagram_format(path.suffix)
    if arguments.queries or arguments.task in ("retrieval", "search"):
        raise InputError(
            "a reliability diagram is of answers with a probability, which retrieval and search "
            "do not have: leave --diagram out, or give images with classes"
        )
    return OutputFile(path, lambda head: SOFTWARE.encode() in head, arguments.force).checked()


def _calibration(arguments: argparse.Namespace) -> OutputFile | None:
    if arguments.calibrate is None:
        return None
    path = Path(arguments.calibrate)
    if path.suffix.lower() != ".json":
        raise InputError(f"a calibration is a file that ends in .json, got {path}")
    return OutputFile(
        path, lambda head: b'"clipkit_calibration"' in head, arguments.force
    ).checked()


def _print(report: "EvaluationReport", *, is_json: bool) -> None:
    from clipkit.evaluation.report_text import report_tables

    print_shortcomings(report.skipped, report.warnings)
    if is_json:
        print(to_json(report.to_dict()))
        return
    print_tables(report_tables(report))
