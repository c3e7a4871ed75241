"""``clipkit teach``: a concept from some images, which queries and labels may name."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from clipkit.cli import values
from clipkit.cli.model_options import add_model_options, load_encoder
from clipkit.cli.outputs import OutputFile
from clipkit.cli.parser import Parser
from clipkit.cli.quoting import quoted
from clipkit.cli.report_lines import skipped_lines
from clipkit.cli.terminal import note, progress_bar, to_json
from clipkit.encoder.encoder import Encoder
from clipkit.errors import ImageReadError, InputError, LibraryError
from clipkit.inputs.folders import find_images
from clipkit.plain_text import visible
from clipkit.search.library import PhotoLibrary

_EPILOG = """\
examples:
  clipkit teach Rex rex/*.jpg
  clipkit teach Rex rex/*.jpg --not other-dogs/*.jpg --as "a dog"
  clipkit search "Rex + beach - night" ~/Pictures
  clipkit classify photos --labels "Rex, dog, cat"

five images say much more than one. --as makes up for few, and --not tells the concept from what it
is mistaken for. If the images lie in an indexed folder, they are looked up there and not embedded
again, and the concept is told from the folder's other images: it then also has details that no word
names. A concept is of one model; clipkit concepts lists, shows, exports and removes them
"""


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "teach",
        help="make a concept of some images, to be used like a word",
        description="Teach a concept: what some images have in common, under a name. Exactly that\n"
        "name is then a part of queries, and a label, of its own; within a text it is a word.",
        epilog=_EPILOG,
    )
    parser.add_argument("name", metavar="NAME", help="what to call it, such as Rex")
    parser.add_argument(
        "images",
        type=values.path,
        nargs="+",
        metavar="PATH",
        help="images that show it, or folders of them",
    )
    parser.add_argument(
        "--not",
        dest="negatives",
        type=values.path,
        nargs="+",
        default=[],
        metavar="PATH",
        help="images of other things that it is mistaken for, or folders of them",
    )
    parser.add_argument(
        "--as", dest="kind", metavar="WORDS", help='what kind of thing it is, such as "a dog"'
    )
    parser.add_argument(
        "--among",
        type=values.path,
        metavar="FOLDER",
        help="an indexed folder whose images it is told from (default: where the images lie)",
    )
    parser.add_argument(
        "--output",
        "-o",
        type=values.path,
        metavar="FILE",
        help="write it to a file that ends in .safetensors, which a query can name, instead of "
        "keeping it under its name",
    )
    parser.add_argument(
        "--replace", "--force", action="store_true", help="teach a name anew that is taken"
    )
    parser.add_argument("--json", action="store_true", help="print what was taught as JSON")
    parser.add_argument("--strict", action="store_true", help="exit 1 if an image was skipped")
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Teach and print.

    Args:
        arguments: As parsed.

    Returns:
        0; 1 if an image was skipped and --strict was given.

    Raises:
        InputError: If the name cannot be one or is taken, or no image can be read.
    """
    # Imported here, so that the help of all commands starts without them.
    from clipkit.adaptation.concept import check_concept_name
    from clipkit.adaptation.concept_store import ConceptStore
    from clipkit.adaptation.teaching import teach

    name, store, output = check_concept_name(arguments.name), ConceptStore(), None
    if arguments.output is not None:
        output = concept_file(arguments.output, is_forced=arguments.replace).checked()
    images, negatives = _read_paths(arguments.images), _read_paths(arguments.negatives)
    encoder = load_encoder(arguments)
    if output is None:
        store.check_writable()
        if not arguments.replace:
            store.check_free(name, encoder.space_id)
    library = _library(arguments, encoder)
    with progress_bar("reading images") as progress:
        report = teach(
            encoder,
            name,
            images.files,
            negatives=negatives.files,
            kind=arguments.kind,
            library=library,
            progress=progress,
        )
    skipped = [*images.skipped, *negatives.skipped, *report.skipped]
    for line in skipped_lines(skipped):
        note(line)
    if library is not None and report.num_looked_up:
        note(f"images looked up in the index of {library.folder}: {report.num_looked_up}")
    if output is not None:
        output.write_bytes([report.concept.to_bytes()])
    else:
        store.save(report.concept, replace=arguments.replace)
    if arguments.json:
        print(to_json(report.to_dict()))
    else:
        word = name if arguments.output is None else str(arguments.output)
        query = quoted(f"{word} + beach")
        model = "" if arguments.model == "starter" else f" --model {quoted(arguments.model)}"
        print(f"taught {visible(name)}; use it as in  clipkit search {query}{model}")
    if not report.concept.has_center:
        note(_without_index(images.files[0]))
    return 1 if skipped and arguments.strict else 0


def concept_file(path: str, *, is_forced: bool) -> OutputFile:
    """Return a file that a concept is to be written to.

    Args:
        path: As the user wrote it.
        is_forced: Whether a file that is there may go, whatever it is.

    Returns:
        The file; a concept that is there may go.

    Raises:
        InputError: If it does not end in .safetensors.
    """
    if not path.lower().endswith(".safetensors"):
        raise InputError(f"a concept is a file that ends in .safetensors, got {path}")
    from clipkit.adaptation.concept import CONCEPT_FILE

    return OutputFile(Path(path), lambda head: CONCEPT_FILE.mark.encode() in head, is_forced)


def _without_index(image: str) -> str:
    folder = quoted(str(Path(image).parent))
    return (
        "it is made of everyday words alone, for there is no index with enough other images: if "
        f"there are some, run  clipkit index {folder}  on the folder that holds all of them, and "
        "teach it again with --replace"
    )


class _Files(NamedTuple):
    """Image files, each once, and what could not be read of folders."""

    files: list[str]
    skipped: list[ImageReadError]


def _read_paths(paths: Sequence[str]) -> _Files:
    """Return image files that were named, and those of folders that were."""
    files: dict[str, None] = {}
    skipped: list[ImageReadError] = []
    for path in paths:
        if not Path(path).is_dir():
            files[path] = None
            continue
        scan = find_images(Path(path))
        files.update(dict.fromkeys(str(Path(path) / entry.path) for entry in scan.entries))
        skipped += scan.skipped_in(path)
    return _Files(list(files), skipped)


def _library(arguments: argparse.Namespace, encoder: Encoder) -> PhotoLibrary | None:
    """Return the indexed folder that the images are among, None if there is none."""
    if arguments.among is not None:
        library = PhotoLibrary.open_nearest(arguments.among, encoder)
        if not library.is_indexed:
            raise LibraryError(
                f"{arguments.among} has not been indexed with {encoder.name}: run  "
                f"clipkit index {quoted(arguments.among)} --model {quoted(arguments.model)}"
            )
        return library
    paths = [*arguments.images, *arguments.negatives]
    parents = [os.path.abspath(Path(path).parent) for path in paths]  # noqa: PTH100 - links kept
    try:
        library = PhotoLibrary.open_nearest(os.path.commonpath(parents), encoder)
        return library if library.is_indexed else None
    except (InputError, LibraryError, ValueError) as error:  # two drives have nothing in common
        if isinstance(error, LibraryError):
            note(f"the index is not used: {error}")
        return None
