"""The option --store of commands that search or index: embeddings in a Milvus collection."""

import argparse
from typing import TYPE_CHECKING

from clipkit.errors import InputError
from clipkit.search.library import PhotoLibrary

if TYPE_CHECKING:
    from clipkit.encoder.encoder import Encoder

STORE_FORM = "milvus://HOST:19530/COLLECTION"


def add_store_option(parser: "argparse._ActionsContainer", help_text: str) -> None:
    """Add --store.

    Args:
        parser: Of a command, or a group of its options.
        help_text: What the command does with it.
    """
    parser.add_argument(
        "--store",
        metavar="URL",
        help=f"{help_text}: {STORE_FORM}, or milvus:///PATH/NAME.db for a file; a token comes from "
        "$CLIPKIT_MILVUS_TOKEN",
    )


def settle_store(arguments: argparse.Namespace) -> None:
    """Decide what is searched in a store: all of it, as it is.

    Args:
        arguments: As parsed, with --store.

    Raises:
        InputError: If a folder is named too, or what to index, or the URL is none.
    """
    if arguments.folder is not None:
        raise InputError(
            f"{arguments.store} knows which folder it holds: leave out {arguments.folder}; a "
            "filter by path searches a part of it"
        )
    if arguments.exclude is not None or arguments.include_hidden is not None:
        raise InputError(
            "--exclude and --include-hidden say what to index, and --store is searched as it is: "
            "give them to  clipkit index FOLDER --store URL"
        )
    # Nothing is indexed, and messages name the store where they would name the folder.
    arguments.no_indexing, arguments.folder = True, arguments.store


def open_for_search(arguments: argparse.Namespace, encoder: "Encoder") -> PhotoLibrary:
    """Return the library that a search is of: of the folder, or of the store."""
    if arguments.store is not None:
        return PhotoLibrary.open(encoder=encoder, store=arguments.store)
    return PhotoLibrary.open_nearest(arguments.folder, encoder)
