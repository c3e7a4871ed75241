"""The arguments of a search as a query, a folder and filters, each checked."""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit.cli.quoting import quoted
from clipkit.errors import InputError
from clipkit.paths import expand_home
from clipkit.search.filters import FilterOptions, IndexFilter
from clipkit.search.library import PhotoLibrary
from clipkit.search.query import SIGN_BETWEEN, Query, image_argument, parse_query


def explain_words(arguments: argparse.Namespace, left: Sequence[str]) -> str:
    """Return a hint on how to write a query of several words.

    Args:
        arguments: As parsed so far.
        left: The surplus words.

    Returns:
        A sentence with the command to type.
    """
    words = [word for word in (arguments.query, arguments.folder, *left) if word is not None]
    folder = ""
    if _is_folder(words[-1]) or _looks_like_a_path(words[-1]):
        folder = f" {quoted(words.pop())}"
    elif _is_folder(words[0]):
        folder = f" {quoted(words.pop(0))}"
    return (
        f"several words need quotes around them:  clipkit {arguments.command} "
        f"{quoted(' '.join(words))}{folder}"
    )


def settle_folder(arguments: argparse.Namespace) -> None:
    """Decide whether a single argument is the query or the folder.

    Args:
        arguments: As parsed; its query and folder are set.

    Raises:
        InputError: If there is no such folder, or nothing to search for.
    """
    has_other = arguments.like or arguments.more_like or arguments.less_like or arguments.add
    if arguments.query is not None and arguments.folder is None and _is_folder(arguments.query):
        if not has_other:
            folder = quoted(arguments.query)
            raise InputError(
                f"what to search for in {arguments.query}? Give words, as in  clipkit "
                f'{arguments.command} "a cat" {folder} ; to search for {arguments.query!r} here, '
                f"give the folder too:  clipkit {arguments.command} {folder} ."
            )
        arguments.query, arguments.folder = None, arguments.query
    if arguments.folder is not None and not _is_folder(arguments.folder):
        _refuse_folder(arguments)
    arguments.folder = arguments.folder or "."
    PhotoLibrary.open(arguments.folder)  # says what is wrong with it


def _refuse_folder(arguments: argparse.Namespace) -> None:
    """Raise what is to be typed instead of a folder that is none; a file is left to others."""
    query, folder = arguments.query, arguments.folder
    is_there = Path(folder).exists()
    if query is not None and _is_folder(query) and (is_there or not _looks_like_a_path(folder)):
        words = [quoted(folder)]
        for sign, others in (("+", arguments.add), ("-", arguments.subtract)):
            words += [word for other in others for word in (sign, quoted(other))]
        lack = "this is a file" if is_there else "there is no such folder"
        raise InputError(
            f"{folder}: {lack}; what to search for comes before the folder:  "
            f"clipkit {arguments.command} {' '.join(words)} {quoted(query)}"
        )
    if is_there:
        return
    if _looks_like_a_path(folder):
        raise InputError(
            f"{folder}: there is no such folder; check how it is spelt, or whether its disk is "
            "connected"
        )
    meant = f"{query or ''} {folder}".strip()
    raise InputError(
        f"{folder}: there is no such folder; to search for several words, put them in quotes:  "
        f"clipkit {arguments.command} {quoted(meant)}"
    )


def typed_parts(arguments: argparse.Namespace) -> list[str]:
    """Return the words of a query, with those of a single text between " + " and " - "."""
    words = [arguments.query or "", *arguments.add, *arguments.subtract]
    return [part for word in words for part in SIGN_BETWEEN.split(word)]


def build_query(
    arguments: argparse.Namespace, named: Mapping[str, NDArray[np.floating]]
) -> Query | None:
    """Return the query that the arguments describe.

    Args:
        arguments: As parsed.
        named: Embeddings of the names that stand for taught concepts.

    Returns:
        The query; None if it is only images marked by --more-like and --less-like.

    Raises:
        InputError: If there is nothing to search for, or an image does not exist.
    """
    for path in arguments.like:
        if "://" not in path and not expand_home(path).exists():
            raise InputError(f"{path}: there is no such image for --like")
    added = [*arguments.add, *(image_argument(path) for path in arguments.like)]
    words = [] if arguments.query is None else [arguments.query]
    if not words and added:
        words.append(added.pop(0))
    for sign, others in (("+", added), ("-", arguments.subtract)):
        for other in others:
            words += [sign, other]
    if not words and (arguments.more_like or arguments.less_like):
        return None
    if not words:
        raise InputError(
            f'what to search for? Give words, as in  clipkit {arguments.command} "a cat" ~/Pictures'
        )
    return parse_query(*words, allow_urls=True, named=named)


def query_title(arguments: argparse.Namespace) -> str:
    """Return the query as a heading for people."""
    parts = [arguments.query or "", *(f"+ {word}" for word in [*arguments.add, *arguments.like])]
    parts += [f"− {word}" for word in arguments.subtract]  # noqa: RUF001 - a minus for people
    return " ".join(filter(None, parts)) or "more of the same"


def read_filters(arguments: argparse.Namespace) -> FilterOptions:
    """Return the filters that the arguments describe.

    Args:
        arguments: As parsed.

    Returns:
        Keyword arguments of `PhotoLibrary.search`.

    Raises:
        InputError: If a filter is invalid, such as a date that does not exist.
    """
    min_width, min_height = arguments.min_size
    filters = FilterOptions(
        path=arguments.path,
        not_path=arguments.not_path,
        after=arguments.after,
        before=arguments.before,
        min_width=min_width,
        min_height=min_height,
        orientation=arguments.orientation,
        camera=arguments.camera,
        not_camera=arguments.not_camera,
    )
    IndexFilter(**filters)  # refuses invalid values
    return filters


def check_images(arguments: argparse.Namespace, query: Query | None) -> None:
    """Refuse images of the query that cannot be read, before a first indexing takes hours.

    Args:
        arguments: As parsed.
        query: The query made of them.

    Raises:
        InputError: If an image does not exist or cannot be read.
    """
    paths = [Path(path) for path in (*arguments.more_like, *arguments.less_like)]
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: there is no such image to compare with")
    paths += [part.path for part in (query.parts if query else ()) if part.path is not None]
    if not paths or arguments.no_indexing or PhotoLibrary.open_nearest(arguments.folder).is_indexed:
        return
    from clipkit.inputs.thumbnails import read_thumbnail

    for path in paths:
        read_thumbnail(path, box=(1, 1))


def _looks_like_a_path(word: str) -> bool:
    return word.startswith(("~", ".")) or not {"/", os.sep}.isdisjoint(word)


def _is_folder(word: str) -> bool:
    try:
        return bool(word) and Path(word).is_dir()
    except (OSError, ValueError):  # too long for a path, or with a null inside
        return False
