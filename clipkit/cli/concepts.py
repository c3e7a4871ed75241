"""``clipkit concepts``: list, show, export, import and remove the concepts that were taught."""

import argparse
from typing import TYPE_CHECKING

from clipkit.cli import values
from clipkit.cli.indexing import check_is_indexed
from clipkit.cli.parser import Parser
from clipkit.cli.search_results import print_hits
from clipkit.cli.teach import concept_file
from clipkit.cli.terminal import note, print_tables, to_json
from clipkit.encoder.loading import load
from clipkit.errors import InputError
from clipkit.plain_text import visible
from clipkit.search.library import PhotoLibrary
from clipkit.search.query import QueryPart

if TYPE_CHECKING:
    from clipkit.adaptation.concept import Concept
    from clipkit.adaptation.concept_store import ConceptStore

_EPILOG = """\
examples:
  clipkit concepts                           what was taught
  clipkit concepts show Rex ~/Pictures       what it finds in an indexed folder, best first
  clipkit concepts export Rex rex.safetensors
  clipkit concepts import rex.safetensors    on another machine, with the same model
  clipkit concepts remove Rex Bella
"""


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "concepts",
        help="list, show, export, import and remove taught concepts",
        description="The concepts that clipkit teach has made. Without an action, list them.",
        epilog=_EPILOG,
    )
    parser.add_argument("--json", action="store_true", help="print them as JSON")
    actions = parser.add_subparsers(
        title="actions", metavar="ACTION", dest="action", prog="clipkit concepts"
    )
    actions.add_parser("list", help="list them (as without an action)")
    show = actions.add_parser("show", help="show what is known of one, and what it finds")
    show.add_argument("name", metavar="NAME", help="of a concept")
    show.add_argument(
        "folder", type=values.path, nargs="?", metavar="FOLDER", help="an indexed folder"
    )
    show.add_argument(
        "--top",
        "-t",
        type=values.whole_number(1),
        default=10,
        metavar="K",
        help="how many images at most (default 10)",
    )
    export = actions.add_parser("export", help="write one to a file")
    export.add_argument("name", metavar="NAME", help="of a concept")
    export.add_argument("file", type=values.path, metavar="FILE", help="ends in .safetensors")
    export.add_argument("--force", action="store_true", help="replace a file of any other kind")
    take = actions.add_parser("import", help="keep one from a file under its name")
    take.add_argument("file", type=values.path, metavar="FILE", help="of clipkit teach or export")
    take.add_argument("--replace", action="store_true", help="replace one of that name")
    remove = actions.add_parser("remove", help="forget one or more")
    remove.add_argument("names", nargs="+", metavar="NAME", help="of a concept")
    show.add_argument(
        "--json",
        action="store_true",
        default=argparse.SUPPRESS,
        help="print it as JSON; images as an object a line",
    )
    for action in (show, export, remove):
        action.add_argument(
            "--model", metavar="NAME", help="of the concepts of a name the one of this model"
        )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked and print.

    Args:
        arguments: As parsed.

    Returns:
        0; 1 if a file among them is damaged, or a concept finds probably nothing.

    Raises:
        InputError: If there is no such concept or file.
    """
    from clipkit.adaptation.concept_store import ConceptStore

    store = ConceptStore()
    if arguments.action in (None, "list"):
        return _list(store, is_json=arguments.json)
    if arguments.action == "import":
        return _import(store, arguments)
    if arguments.action == "remove":
        names = dict.fromkeys(arguments.names)
        # All are looked for before the first is removed.
        for concept in [each for name in names for each in _find(store, name, arguments.model)]:
            store.remove(concept)
            note(f"removed {visible(concept.name)}, for {concept.model}")
        return 0
    found = _find(store, arguments.name, arguments.model)
    concept = max(found, key=lambda each: each.created)  # of one model's older weights the newest
    if arguments.action == "show":
        return _show(concept, arguments)
    file = concept_file(arguments.file, is_forced=arguments.force)
    file.write_bytes([concept.to_bytes()])
    return 0


def _list(store: "ConceptStore", *, is_json: bool) -> int:
    stored = store.load()
    for error in stored.damaged:
        note(f"clipkit: {error}")
    if is_json:
        print(to_json([concept.to_dict() for concept in stored.concepts]))
    elif stored.concepts:
        rows = [_row(concept) for concept in stored.concepts]
        head = ("name", "model", "images", "not", "as", "taught")
        print_tables([("concepts", [head, *rows])])
    elif not stored.damaged:
        note("nothing was taught so far: see  clipkit help teach")
    return 1 if stored.damaged else 0


def _row(concept: "Concept") -> tuple[str, ...]:
    counts = str(concept.num_images), str(concept.num_negatives)
    kind = visible(concept.kind or "")
    return (visible(concept.name), concept.model, *counts, kind, concept.created[:10])


def _find(store: "ConceptStore", name: str, model: str | None) -> "list[Concept]":
    """Return the concepts of a name and one model."""
    named = store.find(name)
    found = [each for each in named if model in (None, each.model)]
    if len({concept.model for concept in found}) == 1:
        return found
    models = ", ".join(dict.fromkeys(concept.model for concept in named))
    raise InputError(f"{name} was taught with {models}: name one of them with --model")


def _show(concept: "Concept", arguments: argparse.Namespace) -> int:
    if arguments.folder is None:
        if arguments.json:
            print(to_json(concept.to_dict()))
            return 0
        for name, value in concept.to_dict().items():
            print(f"{name:<16} {visible(str(value))}")
        return 0
    check_is_indexed(arguments.folder)
    encoder = load(concept.model)
    concept.check_space(encoder.space_id, encoder.name)
    library = PhotoLibrary.open_nearest(arguments.folder, encoder)
    hits = library.search(QueryPart(concept.embedding), k=arguments.top)
    form = argparse.Namespace(**vars(arguments), filepath_only=False, print0=False)
    print_hits(hits, form, preview=None)
    note(f"{hits.verdict}: {hits.num_found} of {hits.num_searched} images count as found")
    return 1 if hits.verdict == "probably nothing" else 0


def _import(store: "ConceptStore", arguments: argparse.Namespace) -> int:
    from clipkit.adaptation.concept import Concept

    concept = Concept.load(arguments.file)
    store.save(concept, replace=arguments.replace)
    note(f"{visible(concept.name)} is there, for {concept.model}")
    return 0
