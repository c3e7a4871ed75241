"""``clipkit compile``: make a model start in about a second and run without torch."""

import argparse

from clipkit.cli.terminal import note, to_json
from clipkit.encoder.loading import compile_model
from clipkit.models.sources import resolve_source
from clipkit.runtime.bundle import Bundle, count_kept
from clipkit.runtime.cache import compiled_directory, find_compiled
from clipkit.runtime.compiled_autotune import autotune_compiled, compiled_trial

_EPILOG = """\
examples:
  clipkit compile ViT-B-32/laion2b_s34b_b79k
  clipkit compile runs/mine/final --again
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "compile",
        help="make a model start in about a second, without torch",
        description=(
            "Compile a model for ONNX Runtime, compare it with the original on real images and "
            "texts, and keep it in the cache directory. Other commands do this the first time they "
            "use a model; this one does it now, or again."
        ),
        epilog=_EPILOG,
    )
    parser.add_argument("model", metavar="NAME", help='a model, as "clipkit models" lists it')
    parser.add_argument(
        "--again", action="store_true", help="compile again what is compiled already"
    )
    parser.add_argument("--json", action="store_true", help="print the result as a JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compile; print the directory of the compiled model and its parity with torch.

    Args:
        arguments: As parsed.

    Returns:
        0.
    """
    source = resolve_source(arguments.model)
    directory = find_compiled(source)
    if directory is not None and arguments.again and directory != compiled_directory(source):
        note(f"{source.name} is a compiled model itself: there is nothing to compile")
    elif directory is None or arguments.again:
        directory = compile_model(arguments.model, progress=note)
    bundle = Bundle.read(directory)
    chosen = autotune_compiled(directory)
    if arguments.json:
        values = {"directory": str(directory), **chosen._asdict(), **bundle.to_dict()}
        print(to_json(values))
        return 0
    print(directory)
    for name, parity in bundle.precisions.items():
        note(f"{name}: {parity}")
    if kept := count_kept(bundle.kept):
        note(f"in int8, {kept}")
    for name, refusal in bundle.refused.items():
        note(f"not {name}: {refusal.reason}")
    trial = compiled_trial(bundle)
    note(f"in use here: {trial or chosen}")
    return 0
