"""What a library holds, read out: the pictures' paths and their embeddings.

Shapes: N pictures, D dimensions.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clipkit.embeddings import EmbeddingArray, Embeddings, normalize_rows
from clipkit.search.entries import ImageRow
from clipkit.search.filters import PictureFilter
from clipkit.search.location import LibraryPlace
from clipkit.search.snapshot import Snapshot, committed

_BLOCK = 4096  # pictures read at a time


class LibraryEmbeddings(NamedTuple):
    """The pictures of a library, in the order of their paths."""

    paths: list[Path]  # N: the library's folder, as it was given, joined with the path inside it
    embeddings: EmbeddingArray  # (N, D), of the space of the model that indexed them


def read_embeddings(place: LibraryPlace, accepted: PictureFilter) -> LibraryEmbeddings:
    """Return the pictures that pass a filter, with their embeddings.

    Args:
        place: Where the library lies.
        accepted: Which pictures.

    Returns:
        N of them; in memory are these, and little else.

    Raises:
        LibraryError: If the folder has not been indexed, or the index is damaged.
    """
    with committed(place) as snapshot:
        count = len(snapshot.catalog.rows(place.prefix, accepted))
        embeddings = np.empty((count, snapshot.meta.embed_dim), dtype=np.float32)
        paths: list[Path] = []
        for images, rows in stream_contents(snapshot, place.prefix, accepted):
            embeddings[len(paths) : len(paths) + len(rows)] = rows
            paths += [place.path(image.path) for image in images]
        space_id = snapshot.meta.space_id
    return LibraryEmbeddings(paths, EmbeddingArray(embeddings, space_id))


def stream_contents(
    snapshot: Snapshot, prefix: str, accepted: PictureFilter
) -> Iterator[tuple[list[ImageRow], Embeddings]]:
    """Yield pictures and their embeddings, some thousands at a time, in the order of the paths.

    Args:
        snapshot: The library's state.
        prefix: Only paths under it: "" or "folder/".
        accepted: Which pictures.

    Yields:
        K pictures and their embeddings, shape (K, D), rows of norm 1.
    """
    contents = snapshot.catalog.contents(prefix, accepted)
    while images := list(itertools.islice(contents, _BLOCK)):
        yield images, normalize_rows(snapshot.vectors.take(np.array([row.row for row in images])))
