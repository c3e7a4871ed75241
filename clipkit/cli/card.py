"""``clipkit card``: what a base model can do and what it cannot, as a model card."""

import argparse
from contextlib import AbstractContextManager
from pathlib import Path

from clipkit.cli import values
from clipkit.cli.model_options import add_engine_options, load_encoder
from clipkit.cli.outputs import OutputFile
from clipkit.cli.terminal import note, progress_bar, to_json, warn
from clipkit.errors import InputError
from clipkit.progress import Callbacks, Progress

_EPILOG = """\
examples:
  clipkit card                                            of the embedded starter
  clipkit card ViT-B-32/openai -o README.md               a model card to push to a hub
  clipkit card my_model/ --json > card.json               with every prompt and every answer

each probe is a forced choice on images with known answers; a verdict is an exact test against
guessing, corrected for the number of probes. Licence and data are those that files of the model
state; what none states is said to be not known
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "card",
        help="measure what a base model can do and cannot, and write its model card",
        description="Measure what a model can do and cannot: objects, colours, counting, left and\n"
        "right, negation, languages and more, by small probes; and write its model card.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "model",
        metavar="NAME",
        nargs="?",
        default="starter",
        type=values.model_name,
        help='a model, as "clipkit models" lists it (default: the embedded starter)',
    )
    parser.add_argument(
        "-o", "--output", type=values.path, metavar="FILE.md", help="write the card to a file"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--force", action="store_true", help="replace FILE.md if it is there")
    add_engine_options(parser)
    parser.set_defaults(run=run, batch_size=None, max_megapixels=None)


def run(arguments: argparse.Namespace) -> int:
    """Measure, and write or print.

    Args:
        arguments: As parsed.

    Returns:
        0.

    Raises:
        InputError: If the file cannot be written, or is there already.
    """
    # Imported here, so that the help of all commands starts without them.
    from clipkit.evaluation.card.card import make_model_card
    from clipkit.evaluation.card.text import model_card_text

    output = None
    if arguments.output is not None:
        output = _output(Path(arguments.output), is_forced=arguments.force)
    encoder = load_encoder(arguments)
    callbacks = Callbacks(say=note, warn=warn, progress_for=_bar)
    card = make_model_card(encoder, callbacks=callbacks)
    if output is not None:
        output.write_text([model_card_text(card)])
    if arguments.json:
        print(to_json(card.to_dict()))
    elif output is None:
        print(model_card_text(card))
    else:
        for probe in card.probes:
            print(f"{probe.name}: {probe.sentence}")
    return 0


def _output(path: Path, *, is_forced: bool) -> OutputFile:
    if path.is_file() and not is_forced:
        raise InputError(
            f"{path} is there already, and a person may have written in it: choose another name, "
            "or say --force to replace it"
        )
    return OutputFile(path, is_forced=is_forced).checked()


def _bar(label: str) -> AbstractContextManager[Progress]:
    return progress_bar(label, unit="prompt" if label == "embedding prompts" else "image")
