"""``clipkit models``: which models there are, how large and good, and which are on this machine."""

import argparse
import json
import sys

from clipkit.models.listing import ModelListing, list_models

_EPILOG = """\
examples:
  clipkit models
  clipkit models siglip2 256
  clipkit models --here
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "models",
        help="list models, their size and published accuracy, and what is on this machine",
        description=(
            "List the models that --model takes. Accuracy is zero-shot top-1 on ImageNet as "
            "published; - where it is not known."
        ),
        epilog=_EPILOG,
    )
    parser.add_argument("words", nargs="*", metavar="WORD", help="only names that hold every word")
    parser.add_argument("--here", action="store_true", help="only models on this machine")
    parser.add_argument("--json", action="store_true", help="one JSON object a model and line")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List models.

    Args:
        arguments: As parsed.

    Returns:
        0; or 1 if no model fits.
    """
    words = [word.lower() for word in arguments.words]
    listings = [
        listing
        for listing in list_models()
        if all(word in listing.name.lower() for word in words)
        and (listing.is_here or not arguments.here)
    ]
    if arguments.json:
        for listing in listings:
            print(json.dumps(_as_object(listing)))
    elif listings:
        width = max(len(listing.name) for listing in listings)
        print(
            f"{'name':<{width}}  {'million parameters':>18}  {'pixels':>7}  {'ImageNet':>8}  here"
        )
        for listing in listings:
            print(_line(listing, width))
    else:
        print("no model fits; run  clipkit models  without words for all", file=sys.stderr)
    return 0 if listings else 1


def _line(listing: ModelListing, width: int) -> str:
    parameters = "-" if listing.parameters is None else f"{listing.parameters / 1e6:.0f}"
    size = listing.image_size
    pixels = "-" if size is None else str(size) if isinstance(size, int) else f"{size[0]}x{size[1]}"
    accuracy = "-" if listing.imagenet_top1 is None else f"{listing.imagenet_top1:.1%}"
    here = "yes" if listing.is_here else ""
    line = f"{listing.name:<{width}}  {parameters:>18}  {pixels:>7}  {accuracy:>8}  {here}"
    return line.rstrip()


def _as_object(listing: ModelListing) -> dict[str, object]:
    return {
        "name": listing.name,
        "parameters": listing.parameters,
        "image_size": listing.image_size,
        "imagenet_top1": listing.imagenet_top1,
        "path": None if listing.place is None else str(listing.place),
    }
