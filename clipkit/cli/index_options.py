"""The options of ``clipkit index``: as a sync takes them, as a command to resume, for --rebuild."""

import argparse
import shlex
from contextlib import suppress

from clipkit.bulk_embedding.embedding_files import open_embedding_files
from clipkit.cli.indexing import sync_options
from clipkit.encoder.encoder import Encoder
from clipkit.errors import LibraryError
from clipkit.search.indexes import place_of_any_folder, places_of_model
from clipkit.search.indexes import remove_index as remove_files
from clipkit.search.library import PhotoLibrary
from clipkit.search.location import LibraryPlace, inner_location
from clipkit.search.store_sync import check_one_row
from clipkit.search.sync import check_ready
from clipkit.search.sync_options import SyncOptions, read_sync_options


def index_options(arguments: argparse.Namespace) -> SyncOptions:
    """Return what a sync is told."""
    from_files = arguments.embeddings
    return sync_options(
        arguments,
        prune=arguments.prune,
        order="newest" if arguments.watch else "spread",
        embeddings=None if from_files is None else open_embedding_files(from_files),
        crops=arguments.crops,
    )


def resuming_command(arguments: argparse.Namespace) -> str:
    """Return the command that resumes an interrupted one, which need not have begun."""
    words = ["clipkit", "index", arguments.folder, *model_words(arguments)]
    for pattern in arguments.exclude or ():
        words += ["--exclude", pattern]
    if arguments.include_hidden is not None:
        words.append("--include-hidden" if arguments.include_hidden else "--no-include-hidden")
    if arguments.here:
        words.append("--here")
    for option in ("crops", "embeddings", "store"):
        if (value := getattr(arguments, option)) is not None:
            words += ["--from" if option == "embeddings" else f"--{option}", str(value)]
    return shlex.join(words)


def model_words(arguments: argparse.Namespace) -> list[str]:
    """Return the option that names the model, if it is not the default."""
    return [] if arguments.model == "starter" else ["--model", arguments.model]


def remove_index(arguments: argparse.Namespace, encoder: Encoder) -> None:
    """Delete the index of a model, also of weights that it had, unless a sync would be refused.

    What the index was told to keep the next one is told. With --store only what is there is
    deleted: the folder's own index is what it is made of.
    """
    library = PhotoLibrary.open(arguments.folder)  # wherever it lies, also if --here moves it
    with suppress(LibraryError):  # the model of a damaged index is unknown, and what it keeps
        library = PhotoLibrary.open(arguments.folder, encoder)
        for name, value in library.kept_options.items():
            if getattr(arguments, name) is None:
                setattr(arguments, name, value)
    rules = read_sync_options(index_options(arguments))
    check_ready(rules, encoder, library.folder, rules.crops or 1)
    if arguments.here:
        LibraryPlace(library.folder, inner_location(library.folder)).make_location()
    if arguments.store is None:
        library.remove()
        first = place_of_any_folder(arguments.folder)
        for former in places_of_model(first, encoder.name, encoder.embed_dim):
            remove_files(former, first)
        return
    check_one_row(rules.crops or 1)
    PhotoLibrary.open(arguments.folder, store=arguments.store).remove_from_store()
