"""``clipkit adapt``: what adapting a model to labelled images is worth, and the head to use."""

import argparse
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from clipkit.cli import next_labels, values
from clipkit.cli.model_options import add_model_options, load_encoder
from clipkit.cli.pair_options import add_layout_options, pair_layout
from clipkit.cli.parser import did_you_mean
from clipkit.cli.report_lines import print_shortcomings
from clipkit.cli.terminal import note, print_tables, progress_bar, to_json, warn
from clipkit.errors import InputError
from clipkit.plain_text import visible
from clipkit.progress import Callbacks, Progress

if TYPE_CHECKING:
    from clipkit.adaptation.options import AdaptationOptions
    from clipkit.adaptation.report import AdaptationReport

_EPILOG = """\
examples:
  clipkit adapt pets/                               what each rung is worth, and which one to take
  clipkit adapt pets/ -o pets.safetensors           and write the head that it recommends
  clipkit classify photos/ --head pets.safetensors
  clipkit adapt labels.csv --label-column species --test held_out.csv --report pets.md
  clipkit adapt pets/ --rung probe -o pets.safetensors     that one, without measuring others
  clipkit adapt pets/ --steps 6                     and is training the model worth it?
  clipkit adapt pets/ --rung lora -o pets-model     train it; --model pets-model is then the model
  clipkit adapt pets/ --next 20 --from photos/             which 20 of these images to label next
  clipkit adapt --labels "cat, dog" --next 20 --from photos/ --to labels.csv

steps: 0 one prompt, 1 prompt ensemble, 2 retrieval, 3 heads in closed form, 4 an adapter or a probe
from the texts: all fitted on embeddings in seconds. 5 LoRA, 6 fine-tuning: both train the model,
once a split. Nothing is chosen by images that are measured on. Images are embedded once, and
trained splits are measured once: interrupted, the same command resumes
"""
_MOST_SPLITS = 1000
RUNGS = (  # written out, so that a wrong one is refused before SciPy and torch are imported
    "prompt",
    "prompts",
    "tip-adapter",
    "ss-text",
    "gda",
    "adapter",
    "probe",
    "lora",
    "flyp",
)
"""The names of the rungs, lowest first."""
_LISTED_RUNGS = f"{', '.join(RUNGS[:-1])} or {RUNGS[-1]}"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "adapt",
        help="adapt a model to a few labelled images of your own",
        description="Adapt a model to labels of your own, cheapest way first, and say which way\n"
        "is worth its cost.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "data",
        nargs="?",
        type=values.path,
        metavar="DATA",
        help="a folder with one folder of images a class, or a table with the path and the class "
        "of each image (--label-column); may be left out with --next",
    )
    parser.add_argument(
        "--label-column", default="", metavar="NAME", help="column of a table with the class"
    )
    parser.add_argument(
        "--test",
        type=values.path,
        metavar="DATA",
        help="images to measure on (default: a third of each class of DATA)",
    )
    parser.add_argument(
        "--split-file",
        type=values.path,
        metavar="FILE.json",
        help="a published split in CoOp's form (split_zhou_….json), of images in the folder DATA",
    )
    _add_measuring_options(parser)
    _add_output_options(parser)
    next_labels.add_options(parser)
    add_layout_options(parser)
    add_model_options(parser)
    parser.set_defaults(run=run, default_of=parser.get_default)


def _add_measuring_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to measure")
    group.add_argument(
        "--templates",
        default="default",
        metavar="SET",
        help="a set of prompt templates, or one of your own with a {}",
    )
    group.add_argument(
        "--domain", metavar="WORD", help='what kind of things the classes are, such as "food"'
    )
    group.add_argument(
        "--shots",
        type=values.whole_number(1),
        metavar="K",
        help="images a class to adapt with, at most (default: all)",
    )
    group.add_argument(
        "--splits",
        type=values.whole_number(1, _MOST_SPLITS),
        default=3,
        metavar="N",
        help="random splits into images to adapt with and to measure on (default: 3)",
    )
    group.add_argument(
        "--seed", type=values.whole_number(0), default=0, metavar="N", help="of the first split"
    )
    group.add_argument(
        "--steps",
        type=values.whole_number(0),
        default=4,
        metavar="N",
        help="the last step of the ladder (default: 4; 5 and 6 train the model and need torch)",
    )
    group.add_argument(
        "--set",
        action="append",
        default=[],
        dest="training",
        metavar="KEY=VALUE",
        help="a setting of steps 5 and 6, as clipkit train has it: --set compute.epochs=5; may be "
        "given several times",
    )
    group.add_argument(
        "--retention-set",
        default="samples",
        metavar="FOLDER",
        help="class folders of other things that the model should still know (default: the "
        'photographs that come with clipkit; "none" for none)',
    )
    group.add_argument(
        "--max-forgetting",
        type=values.number(0, 1),
        default=0.02,
        metavar="SHARE",
        help="how much less probable their right names may become (default: 0.02); a rung that "
        "forgets more is not recommended",
    )
    group.add_argument(
        "--rung",
        type=_rung,
        metavar="NAME",
        help=f"fit one rung on all images, and measure nothing: {_LISTED_RUNGS}",
    )


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument(
        "-o",
        "--output",
        type=values.path,
        metavar="PATH",
        help="write the recommended rung, fitted on all images of DATA: a head to "
        "FILE.safetensors or, for other programs, FILE.onnx; a trained model to a folder",
    )
    group.add_argument(
        "--report", type=values.path, metavar="FILE.md", help="write the report as Markdown"
    )
    group.add_argument(
        "--chart", type=values.path, metavar="FILE.png", help="draw accuracy against cost"
    )
    group.add_argument(
        "--save-splits",
        type=values.path,
        metavar="FOLDER",
        help="write the splits, seed-0.json and so on, for --split-file; the folder must exist",
    )
    group.add_argument(
        "--force", action="store_true", help="replace files that another program wrote"
    )
    group.add_argument("--json", action="store_true", help="one JSON object")
    group.add_argument("--strict", action="store_true", help="exit 1 if an image was skipped")


def _rung(text: str) -> str:
    """Return the name of a rung; refuse any other word."""
    if text not in RUNGS:
        guess = did_you_mean(text.lower(), RUNGS)
        raise argparse.ArgumentTypeError(
            f"there is no rung {text!r}{f'{guess} The' if guess else '; the'} rungs are "
            f"{', '.join(RUNGS)}"
        )
    return text


def run(arguments: argparse.Namespace) -> int:
    """Adapt, print and write what was asked for.

    Args:
        arguments: As parsed.

    Returns:
        0; or 1 if an image was skipped and --strict was given.

    Raises:
        InputError: If the images cannot be adapted to, or a file cannot be written.
    """
    if next_labels.is_asked_for(arguments):
        return next_labels.run(arguments)
    if arguments.data is None:
        raise InputError("name the labelled images, as in  clipkit adapt pets/")
    # Imported here, so that the help of all commands starts without them.
    from clipkit.cli.adapt_outputs import AdaptOutputs
    from clipkit.runs.adapt import adapt

    outputs = AdaptOutputs(arguments)
    options = _options(arguments)
    encoder = load_encoder(arguments)
    callbacks = Callbacks(say=note, warn=warn, progress_for=_bar)
    if arguments.rung is not None:
        head = outputs.write_rung(encoder, arguments.rung, options, callbacks)
        if arguments.json:
            print(to_json(head.to_dict()))
        return 0
    report = adapt(encoder, arguments.data, options, callbacks=callbacks)
    _print(report, is_json=arguments.json)
    outputs.write_report(report)
    outputs.write_recommended(encoder, report, options, callbacks)
    return 1 if report.skipped and arguments.strict else 0


def _options(arguments: argparse.Namespace) -> "AdaptationOptions":
    from clipkit.adaptation.options import AdaptationOptions

    retention = arguments.retention_set
    return AdaptationOptions(
        test=arguments.test or "",
        split_file=arguments.split_file or "",
        templates=arguments.templates,
        domain=arguments.domain,
        layout=pair_layout(arguments),
        label_column=arguments.label_column,
        shots=arguments.shots,
        seeds=tuple(range(arguments.seed, arguments.seed + arguments.splits)),
        last_step=arguments.steps,
        training=tuple(arguments.training),
        max_forgetting=arguments.max_forgetting,
        retention_set="" if retention == "none" else retention,
    )


def _print(report: "AdaptationReport", *, is_json: bool) -> None:
    from clipkit.adaptation.report_text import LIMITS, report_sentences, report_tables

    print_shortcomings(report.skipped, ())  # warnings were told as they came
    if is_json:
        print(to_json(report.to_dict()))
        return
    print_tables(report_tables(report))
    print()
    for sentence in report_sentences(report):
        print(visible(sentence))
    print(f"\n{LIMITS}")


def _bar(label: str) -> AbstractContextManager[Progress]:
    return progress_bar(label, unit="fit" if label == "climbing the ladder" else "image")
