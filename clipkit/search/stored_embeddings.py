"""The embeddings that an index holds, with their images: all that pass a filter, or a sample.

Shapes: N images, D dimensions, K images of a block.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clipkit.arguments import check_whole
from clipkit.embeddings import EmbeddingArray, Embeddings, normalize_rows
from clipkit.errors import InputError
from clipkit.search.filters import IndexFilter, Selection
from clipkit.search.location import LibraryPlace, SearchedPlace
from clipkit.search.store.local.store import LocalSnapshot
from clipkit.search.store.records import ImageRow

_BLOCK = 4096  # images read at a time


class LibraryEmbeddings(NamedTuple):
    """The images of a library, in the order of their paths."""

    paths: list[Path]  # N: the library's folder, as it was given, joined with the path inside it
    embeddings: EmbeddingArray  # (N, D), of the space of the model that indexed them


def read_embeddings(place: LibraryPlace, accepted: IndexFilter) -> LibraryEmbeddings:
    """Return the images that pass a filter, with their embeddings.

    Args:
        place: Where the library lies.
        accepted: Which images.

    Returns:
        N of them; in memory are these, and little else.

    Raises:
        LibraryError: If the folder has not been indexed, or the index is damaged.
    """
    with place.store.snapshot() as snapshot:
        count = snapshot.count(Selection(place.prefix, accepted))
        embeddings = np.empty((count, snapshot.meta.embed_dim), dtype=np.float32)
        paths: list[Path] = []
        for images, rows in stream_contents(snapshot, place.prefix, accepted):
            embeddings[len(paths) : len(paths) + len(rows)] = rows
            paths += [place.path(image.path) for image in images]
        space_id = snapshot.meta.space_id
    return LibraryEmbeddings(paths, EmbeddingArray(embeddings, space_id))


def read_embedding(place: SearchedPlace, path: str) -> EmbeddingArray:
    """Return the embedding of one image as it is stored; no file is read.

    Args:
        place: Where the library lies.
        path: Of the image, relative to the library's folder, with / between its parts.

    Returns:
        Shape (D,), of norm 1.

    Raises:
        InputError: If there is no indexed image of that path in the folder.
        LibraryError: If the folder has not been indexed, or the index is damaged.
    """
    with place.store.snapshot() as snapshot:
        image = snapshot.find(f"{place.prefix}{path}")
        if image is None:
            raise InputError(
                f"there is no indexed image {path!r}: a path is that of a hit, relative to the "
                "library's folder, with / between its parts"
            )
        row = normalize_rows(snapshot.vectors([image.row]))[0]
        return EmbeddingArray(row, snapshot.space_id)


def read_sample(place: LibraryPlace, count: int) -> EmbeddingArray:
    """Return embeddings of some images, which stand for all, as `Snapshot.sample` draws them.

    Args:
        place: Where the library lies.
        count: How many at most.

    Returns:
        Shape (N, D), rows of norm 1.

    Raises:
        InputError: If count is no whole number of 1 or more.
        LibraryError: If the folder has not been indexed, or the index is damaged.
    """
    with place.store.snapshot() as snapshot:
        rows = normalize_rows(snapshot.sample(check_whole(count, "count")))
        return EmbeddingArray(rows, snapshot.space_id)


def stream_contents(
    snapshot: LocalSnapshot, prefix: str, accepted: IndexFilter
) -> Iterator[tuple[list[ImageRow], Embeddings]]:
    """Yield images and their embeddings block by block, in the order of the paths.

    Args:
        snapshot: What was committed at one moment.
        prefix: Of the folder: "" or "folder/".
        accepted: Which images.

    Yields:
        K images, and rows of norm 1, shape (K, D).
    """
    contents = snapshot.catalog.contents(prefix, accepted)
    while images := list(itertools.islice(contents, _BLOCK)):
        yield images, normalize_rows(snapshot.vectors([image.row for image in images]))
