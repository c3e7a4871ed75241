"""``clipkit compare``: models side by side on the user's own data."""

import argparse

from clipkit.cli import values
from clipkit.cli.evaluation_options import (
    add_evaluation_options,
    evaluation_bar,
    evaluation_options,
)
from clipkit.cli.model_options import add_encoder_options, load_encoder
from clipkit.cli.pair_options import add_data_options
from clipkit.cli.report_lines import print_shortcomings
from clipkit.cli.terminal import note, print_tables, to_json, warn
from clipkit.errors import InputError
from clipkit.progress import Callbacks

_EPILOG = """\
examples:
  clipkit compare starter ViT-B-32/openai --data pets/
  clipkit compare starter runs/pets/final --data labels.csv --label-column species
  clipkit compare starter ViT-B-32/openai --data ~/Pictures --queries queries.json --json

every model is held against the first one, on the same images. What decides is acc1 of
classification, recall@1 of retrieval and map of search; how much is noise is said of these.
Images are embedded once a model: interrupted, the same command resumes
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "compare",
        help="hold models against each other on your own data",
        description="Measure models on the same data as clipkit evaluate does, and say which\n"
        "differences are more than noise, and what each model costs on this machine.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "models",
        nargs="+",
        type=values.model_name,
        metavar="MODEL",
        help='two models or more, as "clipkit models" lists them',
    )
    add_data_options(parser, split="test")
    add_evaluation_options(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--strict", action="store_true", help="exit 1 if an image was skipped")
    add_encoder_options(parser.add_argument_group("models"))
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare and print.

    Args:
        arguments: As parsed.

    Returns:
        0; or 1 if an image was skipped and --strict was given.

    Raises:
        InputError: If there is one model only, or as clipkit evaluate.
    """
    # Imported here, so that the help of all commands starts without them.
    from clipkit.evaluation.comparison import compare
    from clipkit.evaluation.comparison_text import comparison_tables, verdict_lines

    if len(arguments.models) < 2:
        raise InputError(
            f"comparing needs two models at least, got {arguments.models[0]} only: to measure one, "
            "run clipkit evaluate"
        )
    encoders = []
    for name in arguments.models:
        encoders.append(load_encoder(argparse.Namespace(**{**vars(arguments), "model": name})))
    callbacks = Callbacks(say=note, warn=warn, progress_for=evaluation_bar)
    options = evaluation_options(arguments)
    report = compare(encoders, str(arguments.pairs), options, callbacks=callbacks)
    print_shortcomings(report.skipped, report.warnings)
    if arguments.json:
        print(to_json(report.to_dict()))
    else:
        print_tables(comparison_tables(report))
        print()
        for line in verdict_lines(report):
            print(line)
    return 1 if report.skipped and arguments.strict else 0
