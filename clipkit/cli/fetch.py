"""``clipkit fetch``: download a model, so that it loads offline from then on."""

import argparse

from clipkit.cli.terminal import note, transfer_progress
from clipkit.models.locate import fetch_model
from clipkit.progress import Callbacks

_EPILOG = """\
examples:
  clipkit fetch ViT-B-32-256/datacomp_s34b_b86k
  clipkit fetch --force ViT-B-32/openai
  clipkit fetch hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "fetch",
        help="download a model, so that it loads offline from then on",
        description=(
            "Download the files of a model into the hub's cache, or what has changed of them on "
            "the hub. An interrupted download is resumed. Needs a network."
        ),
        epilog=_EPILOG,
    )
    parser.add_argument("model", metavar="NAME", help='a model, as "clipkit models" lists it')
    parser.add_argument(
        "--force",
        action="store_true",
        help="download also the files that are here, as when one is damaged",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Download; print the path of every file.

    Args:
        arguments: As parsed.

    Returns:
        0.
    """
    callbacks = Callbacks(say=note, progress_for=transfer_progress)
    for path in fetch_model(arguments.model, again=arguments.force, callbacks=callbacks):
        print(path)
    return 0
