"""``clipkit evaluate``: how good a model is on the user's own data."""

import argparse
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from clipkit.cli import values
from clipkit.cli.options import add_model_options, load_encoder, skipped_lines
from clipkit.cli.outputs import OutputFile
from clipkit.cli.pair_options import add_pair_options, pair_layout
from clipkit.cli.terminal import note, progress_bar, table_lines, to_json, warn
from clipkit.errors import InputError
from clipkit.progress import Callbacks, Progress

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
    group = parser.add_argument_group("what to measure")
    group.add_argument(
        "--task",
        choices=("auto", "classification", "retrieval", "probe", "search"),
        default="auto",
        help="auto: classification of images with classes, retrieval of images with captions, "
        "search with --queries, a probe with --train",
    )
    group.add_argument(
        "--templates",
        action="append",
        default=[],
        metavar="SET",
        help='a set of prompt templates ("openai80" is ImageNet\'s), or one with a {}; give it '
        "again to compare several: the metrics are those of the first",
    )
    group.add_argument(
        "--label-column", default="", metavar="NAME", help="column of a table with the class"
    )
    group.add_argument(
        "--split",
        default="test",
        metavar="NAME",
        help="split of a dataset that is divided: in CLIP_benchmark's layout, or a folder with "
        "train/ and test/ (default: test)",
    )
    group.add_argument(
        "--train", default="", metavar="PAIRS", help="fit a linear probe on these and measure it"
    )
    group.add_argument(
        "--shots",
        type=values.whole_number(1),
        metavar="K",
        help="images a class that the probe is fitted on (default: all)",
    )
    group.add_argument(
        "--queries",
        default="",
        metavar="FILE",
        help='queries and the paths that answer them: JSON {"query": ["path", …]}, or CSV with '
        "the columns query,filepath",
    )
    group.add_argument(
        "--seed", type=values.whole_number(0), default=0, metavar="N", help="of the shots drawn"
    )
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
    from clipkit.evaluation.options import EvaluationOptions
    from clipkit.evaluation.reliability_diagram import draw_reliability_diagram

    diagram, calibration = _diagram(arguments), _calibration(arguments)
    options = EvaluationOptions(
        task=arguments.task,
        templates=tuple(arguments.templates),
        layout=pair_layout(arguments, split="test"),
        label_column=arguments.label_column,
        split=arguments.split,
        train=arguments.train,
        shots=arguments.shots,
        queries=arguments.queries,
        seed=arguments.seed,
        calibrate=calibration is not None,
    )
    encoder = load_encoder(arguments)
    callbacks = Callbacks(say=note, warn=warn, progress_for=_bar)
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
    output = OutputFile(path, lambda head: SOFTWARE.encode() in head, arguments.force)
    output.check()
    return output


def _calibration(arguments: argparse.Namespace) -> OutputFile | None:
    if arguments.calibrate is None:
        return None
    path = Path(arguments.calibrate)
    if path.suffix.lower() != ".json":
        raise InputError(f"a calibration is a file that ends in .json, got {path}")
    output = OutputFile(path, lambda head: b'"clipkit_calibration"' in head, arguments.force)
    output.check()
    return output


def _print(report: "EvaluationReport", *, is_json: bool) -> None:
    from clipkit.evaluation.report_text import report_tables

    for line in skipped_lines(list(report.skipped)):
        note(line)
    for warning in report.warnings:
        warn(warning)
    if is_json:
        print(to_json(report.to_dict()))
        return
    for number, (heading, rows) in enumerate(report_tables(report)):
        print(f"{'' if number == 0 else chr(10)}{heading}")
        for line in table_lines(rows):
            print(f"  {line}")


def _bar(label: str) -> AbstractContextManager[Progress]:
    return progress_bar(label, unit="query" if label == "searching" else "image")
