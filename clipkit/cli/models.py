"""``clipkit models``: list the models, their size, accuracy, and which are on this machine."""

import argparse
import json
from collections.abc import Iterator, Mapping

from clipkit.cli.terminal import note, table_lines
from clipkit.models.known_models import ModelRecommendation, recommended_models
from clipkit.models.listing import ModelListing, list_models
from clipkit.runtime.autotune import matrix_speed

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
            "List the models that --model takes, recommended ones first. Accuracy is zero-shot "
            "top-1 on ImageNet as published; - where it is not known."
        ),
        epilog=_EPILOG,
    )
    parser.add_argument(
        "words", nargs="*", metavar="WORD", help="only models whose name contains every word"
    )
    parser.add_argument("--here", action="store_true", help="only models on this machine")
    parser.add_argument("--json", action="store_true", help="one JSON object per model and line")
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
            print(json.dumps(listing.to_dict()))
    elif listings:
        if not words and not arguments.here:
            for line in _recommendation_lines({listing.name: listing for listing in listings}):
                note(line)  # not on stdout, where a program would take it for a row of the table
        heading = ("name", "million parameters", "pixels", "ImageNet", "here")
        for line in table_lines([heading, *map(_cells, listings)], right={1, 2, 3}):
            print(line)
    else:
        note("no model fits; run  clipkit models  without words for all")
    return 0 if listings else 1


def _recommendation_lines(listings: Mapping[str, ModelListing]) -> Iterator[str]:
    """Yield which models to begin with, each as the command that fetches it."""
    entries = recommended_models()
    speed = matrix_speed()
    width = max(len(entry.name) for entry in entries)
    yield "to begin with; ImageNet as published, speed estimated for this processor in float32:"
    for entry in entries:
        facts = ", ".join(_facts(entry, listings[entry.name], speed))
        yield f"  {entry.purpose:<12}  clipkit fetch {entry.name:<{width}}  {facts}"
    yield ""


def _facts(entry: ModelRecommendation, listing: ModelListing, speed: float) -> Iterator[str]:
    if listing.imagenet_top1 is not None:
        yield _accuracy(listing)
    if listing.parameters is not None:
        yield f"{4e-9 * listing.parameters:.1f} GB"
    yield entry.license
    yield f"about {speed / entry.image_gflops:.2g} images/s"
    if listing.is_here:
        yield "is here"


def _cells(listing: ModelListing) -> tuple[str, ...]:
    parameters = "-" if listing.parameters is None else f"{listing.parameters / 1e6:.0f}"
    size = listing.image_size
    pixels = "-" if size is None else str(size) if isinstance(size, int) else f"{size[0]}x{size[1]}"
    return listing.name, parameters, pixels, _accuracy(listing), "yes" if listing.is_here else "no"


def _accuracy(listing: ModelListing) -> str:
    return "-" if listing.imagenet_top1 is None else f"{listing.imagenet_top1:.1%}"
