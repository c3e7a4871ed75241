"""``clipkit fetch``: download a model, so that it loads offline from then on."""

import argparse

from clipkit.models.locate import fetch_source
from clipkit.models.sources import resolve_source

_EPILOG = """\
examples:
  clipkit fetch ViT-B-32-256/datacomp_s34b_b86k
  clipkit fetch hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "fetch",
        help="download a model, so that it loads offline from then on",
        description="Download the files of a model into the hub's cache. Needs a network.",
        epilog=_EPILOG,
    )
    parser.add_argument("model", metavar="NAME", help='a model, as "clipkit models" lists it')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Download; print the path of every file.

    Args:
        arguments: As parsed.

    Returns:
        0.
    """
    for path in fetch_source(resolve_source(arguments.model)):
        print(path)
    return 0
