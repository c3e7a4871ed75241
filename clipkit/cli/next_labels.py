"""``clipkit adapt --next``: which unlabelled images to label next, and a table to label them in."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from clipkit.cli import values
from clipkit.cli.label_arguments import read_labels
from clipkit.cli.model_options import load_encoder
from clipkit.cli.outputs import OutputFile
from clipkit.cli.pair_options import pair_layout
from clipkit.cli.report_lines import print_shortcomings
from clipkit.cli.terminal import note, path_start, progress_bar, table_lines, to_json, warn
from clipkit.errors import InputError
from clipkit.progress import Callbacks

if TYPE_CHECKING:
    from clipkit.adaptation.labelling_report import LabellingReport

# What only measuring and fitting use, by the name of the attribute.
_OF_THE_LADDER = {
    "test": "--test",
    "split_file": "--split-file",
    "shots": "--shots",
    "rung": "--rung",
    "output": "-o",
    "report": "--report",
    "chart": "--chart",
    "save_splits": "--save-splits",
    "training": "--set",
    "splits": "--splits",
    "seed": "--seed",
    "steps": "--steps",
    "retention_set": "--retention-set",
    "max_forgetting": "--max-forgetting",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add --next, --from, --labels and --to."""
    group = parser.add_argument_group("which images to label next")
    group.add_argument(
        "--next",
        dest="num_next",
        type=values.whole_number(1),
        metavar="N",
        help="name N unlabelled images whose labels tell most about all others, and measure "
        "nothing",
    )
    group.add_argument(
        "--from",
        dest="unlabelled",
        type=values.path,
        metavar="FOLDER",
        help="with the unlabelled images; labelled ones may lie among them",
    )
    group.add_argument(
        "--labels",
        metavar='"A, B"',
        help="classes without a labelled image yet, or a .txt or .json file of them",
    )
    group.add_argument(
        "--to",
        dest="table",
        type=values.path,
        metavar="FILE.csv",
        help="write a table of all labelled images and these: fill in its column label, and "
        "clipkit adapt FILE.csv --label-column label  takes it",
    )


def is_asked_for(arguments: argparse.Namespace) -> bool:
    """Return whether images to label are asked for.

    Args:
        arguments: As parsed.

    Returns:
        Whether --next is given.

    Raises:
        InputError: If an option is given that means nothing without it.
    """
    if arguments.num_next is not None:
        return True
    others = {"--from": "unlabelled", "--labels": "labels", "--to": "table"}
    for option, name in others.items():
        if getattr(arguments, name) is not None:
            raise InputError(f"{option} goes with --next N: say how many images to name")
    return False


def run(arguments: argparse.Namespace) -> int:
    """Name the images, and write the table if one is asked for.

    Args:
        arguments: As parsed.

    Returns:
        0; or 1 if an image was skipped and --strict was given.

    Raises:
        InputError: If options do not fit together, no image is left to label, or the table cannot
            be written.
    """
    # Imported here, so that the help of all commands starts without them.
    from clipkit.adaptation.labelling import next_to_label
    from clipkit.adaptation.options import AdaptationOptions

    _check(arguments)
    table = _table(arguments)
    names = [] if arguments.labels is None else _names(arguments)
    encoder = load_encoder(arguments)
    report = next_to_label(
        encoder,
        arguments.unlabelled,
        data=arguments.data or "",
        class_names=names,
        count=arguments.num_next,
        options=AdaptationOptions(
            templates=arguments.templates,
            domain=arguments.domain,
            layout=pair_layout(arguments),
            label_column=arguments.label_column,
        ),
        callbacks=Callbacks(say=note, warn=warn, progress_for=progress_bar),
    )
    if table is not None:
        table.write_text([report.table(table.path)])
        if report.num_without_file:
            warn(
                f"{report.num_without_file} labelled images are no files of their own, and are "
                f"not in {table.path}"
            )
    _print(report, is_json=arguments.json)
    return 1 if report.skipped and arguments.strict else 0


def _check(arguments: argparse.Namespace) -> None:
    if arguments.unlabelled is None:
        raise InputError("--next needs the folder with the unlabelled images: --from FOLDER")
    if arguments.data is None and arguments.labels is None:
        raise InputError(
            "--next needs the labelled images so far, or the classes:  clipkit adapt pets/ --next "
            '20 --from photos/  or  clipkit adapt --labels "cat, dog" --next 20 --from photos/'
        )
    for name, option in _OF_THE_LADDER.items():
        if getattr(arguments, name) != arguments.default_of(name):
            raise InputError(f"--next measures and fits nothing to keep: leave {option} out")


def _table(arguments: argparse.Namespace) -> OutputFile | None:
    """Return the table to write, checked before any work; None if there is to be none."""
    if arguments.table is None:
        return None
    path = Path(arguments.table)
    if path.suffix.lower() != ".csv":
        raise InputError(f"this is a file that ends in .csv, got {path}")
    if os.path.lexists(path) and not arguments.force:
        raise InputError(
            f"{path} is there already, and labels may have been written into it: choose another "
            "name, or say --force to replace it"
        )
    return OutputFile(path, is_forced=arguments.force).checked()


def _names(arguments: argparse.Namespace) -> list[str]:
    labels = read_labels(arguments)
    if isinstance(labels, dict):
        raise InputError("--labels names classes here: give a list, without prompts of their own")
    return labels


def _print(report: "LabellingReport", *, is_json: bool) -> None:
    from clipkit.adaptation.labelling_report import LIMITS

    print_shortcomings(report.skipped, ())  # warnings were told as they came
    start = path_start(report.folder)
    if is_json:
        found = report.to_dict()
        for image in found["images"]:
            image["path"] = f"{start}{image['path']}"
        print(to_json(found))
        return
    rows = [(f"{start}{image.path}", image.reason) for image in report.images]
    for line in table_lines(rows, has_heading=False):
        print(line)
    for sentence in (*report.sentences(), LIMITS):
        note(sentence)
