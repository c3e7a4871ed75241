"""``clipkit explain``: a heat map of which part of an image a text fits."""

import argparse
from pathlib import Path

from clipkit.cli import values
from clipkit.cli.model_options import add_model_options, load_encoder
from clipkit.cli.outputs import OutputFile
from clipkit.cli.terminal import progress_bar, to_json
from clipkit.errors import InputError
from clipkit.explanation.drawing import SOFTWARE, draw_heat_map
from clipkit.explanation.explain import EMPTY_PROMPT, METHODS, explain
from clipkit.plain_text import visible

_EPILOG = """\
examples:
  clipkit explain cat.jpg "a cat" -o heat.png
  clipkit explain street.jpg "a bicycle" --against "a car" --against "a person" -o heat.png
  clipkit explain cat.jpg "a cat" --model ViT-B-32/openai --method clearclip --json

the colours are raw cosines, not stretched: dark is what words score that do not fit, and the line
on the bar is where a text counts as there. Of vision transformers the last block is looked into
(NACLIP), which needs torch; other models look at parts of the image one by one
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "explain",
        help="show which part of an image a text fits",
        description="Draw a heat map: which part of an image a text fits, in raw cosines, and\n"
        "whether the text is there at all.",
        epilog=_EPILOG,
    )
    parser.add_argument("image", type=values.path, metavar="IMAGE", help="the image")
    parser.add_argument("text", metavar="TEXT", help="what to look for")
    parser.add_argument(
        "-o", "--output", type=values.path, metavar="FILE.png", help="where the drawing goes"
    )
    parser.add_argument(
        "--against",
        action="append",
        metavar="TEXT",
        help=f'a contrasting prompt; may be repeated (default: "{EMPTY_PROMPT}")',
    )
    parser.add_argument(
        "--method",
        default="auto",
        choices=METHODS,
        help="how (default: naclip for vision transformers, else windows)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print the map and everything else as a JSON object"
    )
    parser.add_argument(
        "--force", action="store_true", help="replace FILE.png, whatever wrote what is there"
    )
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Explain, draw and print.

    Args:
        arguments: As parsed.

    Returns:
        0; 1 if the text is not there.

    Raises:
        InputError: If the image, the texts or the output file will not do.
    """
    if arguments.output is None and not arguments.json:
        raise InputError("where should the drawing go? Say -o FILE.png, or --json for numbers")
    output = None if arguments.output is None else _output(arguments)
    image = Path(arguments.image)
    # The starter is no transformer, and windows need no torch.
    is_inside = arguments.method != "windows" and (
        arguments.method != "auto" or arguments.model != "starter"
    )
    if is_inside and arguments.engine == "auto":
        arguments.engine = "torch"
    encoder = load_encoder(arguments)
    with progress_bar("looking at parts of the image", unit="part") as progress:
        heat_map = explain(
            encoder,
            image,
            arguments.text,
            against=arguments.against or (EMPTY_PROMPT,),
            method=arguments.method,
            progress=progress,
        )
    if output is not None:
        output.write_bytes([draw_heat_map(heat_map, image)])
    if arguments.json:
        print(to_json(heat_map.to_dict()))
    else:
        print(f"{visible(arguments.text)}: {heat_map.verdict}")
    return 0 if heat_map.is_there else 1


def _output(arguments: argparse.Namespace) -> OutputFile:
    path = Path(arguments.output)
    if path.suffix.lower() != ".png":
        raise InputError(f"the drawing is a PNG file: give it a name that ends in .png, got {path}")
    return OutputFile(path, lambda head: SOFTWARE.encode() in head, arguments.force).checked()
