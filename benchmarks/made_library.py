"""A library of made images in clipkit's index, and how many of the best it finds.

Each function is run in a process of its own: some need gigabytes, and `measured` wants its own
process small.

Shapes: N images, Q queries, D dimensions.
"""

import shutil
from importlib import metadata
from pathlib import Path

import numpy as np
from made_images import MadeImages, month_glob
from numpy.typing import NDArray

import clipkit
from clipkit.background_words import BACKGROUND_NAMES
from clipkit.search.filters import IndexFilter, Selection
from clipkit.search.location import LibraryPlace, inner_location
from clipkit.search.query_vectors import PartVector
from clipkit.search.ranking import plain_score, rank
from clipkit.search.store.base import ALL
from clipkit.search.store.local.catalog import Catalog
from clipkit.search.store.local.vectors import vectors_name
from clipkit.search.store.local.writer import LibraryWriter
from clipkit.search.store.records import CatalogMeta, ImageRow

_BLOCKS_A_COMMIT = 16  # with fewer, the disk is busy with the same pages of the catalog again
_NUM_QUERIES = 24  # of each kind


def write_library(num: int, folder: Path, model: str) -> None:
    """Write the index of a folder of made images; the images themselves do not exist.

    Args:
        num: How many images.
        folder: Where they would be.
        model: What is said to have embedded them.
    """
    encoder = clipkit.load(model)
    images = MadeImages(num, encoder.embed_dim)
    unfinished = folder / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    meta = CatalogMeta(
        folder=str(folder.resolve()),
        space_id=encoder.space_id,
        embed_dim=encoder.embed_dim,
        model=model,
        engine=encoder.engine,
        precision=encoder.precision,
        clipkit_version=metadata.version("clipkit"),
        vectors_file=vectors_name(1),
        device=folder.stat().st_dev,
    )
    catalog = Catalog.open(unfinished / "catalog.sqlite", folder, create=True)
    assert catalog is not None
    with catalog, LibraryWriter(catalog, unfinished, meta) as writer:
        for number, (first, embeddings) in enumerate(images.blocks(), start=1):
            writer.add(_image_rows(images, first, len(embeddings)), embeddings)
            if number % _BLOCKS_A_COMMIT == 0:
                writer.commit()
        writer.commit()
        catalog.write_background(BACKGROUND_NAMES, encoder.encode_texts(BACKGROUND_NAMES))
    unfinished.rename(inner_location(folder))


def measure_recall(num: int, folder: Path, model: str, k: int, month: int) -> dict[str, float]:
    """Return what share of the k best images a library finds, by kind of query.

    What the best are is float32 arithmetic of NumPy's on embeddings made anew. A search shows the
    best of 200 candidates in the order of their relevance; here the candidates are in question.

    Args:
        num: How many images.
        folder: The folder whose index `write_library` wrote.
        model: As for that.
        k: How many to find.
        month: A month for searches with a filter.

    Returns:
        Means over 24 queries, in [0, 1].
    """
    made = MadeImages(num, clipkit.load(model).embed_dim)
    store = LibraryPlace(folder, inner_location(folder)).store
    texts, images = (make(_NUM_QUERIES) for make in (made.text_queries, made.image_queries))
    best = _exact_paths(made, np.concatenate([texts, images]), k, None)
    best_of_month = _exact_paths(made, texts, k, month)
    of_month = Selection("", IndexFilter(path=month_glob(month)))
    selections = {"texts": ALL, "images": ALL, "texts, 1 % of the images": of_month}
    kinds = zip(
        selections.items(),
        (texts, images, texts),
        (best[:_NUM_QUERIES], best[_NUM_QUERIES:], best_of_month),
        strict=True,
    )
    recalls = {}
    for (name, where), queries, expected in kinds:
        shares = []
        for query, paths in zip(queries, expected, strict=True):
            with store.snapshot() as snapshot:
                found, _ = rank(snapshot, plain_score(PartVector(query)), k=k, where=where)
            shares.append(len(set(found.paths) & paths) / len(paths))
        recalls[name] = float(np.mean(shares))
    return recalls


def _image_rows(images: MadeImages, first: int, count: int) -> list[ImageRow]:
    return [
        ImageRow(
            path=details.path,
            size=details.size,
            mtime_ns=details.mtime_ns,
            row=0,  # the writer says which
            digest=details.digest,
            width=details.width,
            height=details.height,
            taken_at=details.taken_at,
            camera=details.camera,
        )
        for details in images.details(first, count)
    ]


def _exact_paths(
    images: MadeImages, queries: NDArray[np.float32], k: int, month: int | None
) -> list[set[str]]:
    """Return the paths of the k closest images to each query, of one month or of all."""
    numbers = np.zeros((len(queries), 0), np.int64)
    scores = np.zeros((len(queries), 0), np.float32)
    for first, embeddings in images.blocks():
        block = np.arange(first, first + len(embeddings))
        if month is not None:
            is_of_month = [images.month(number) == month for number in block.tolist()]
            block, embeddings = block[is_of_month], embeddings[is_of_month]
        scores = np.concatenate([scores, queries @ embeddings.T], axis=1)
        numbers = np.concatenate([numbers, np.tile(block, (len(queries), 1))], axis=1)
        if scores.shape[1] > k:
            kept = np.argpartition(-scores, k - 1, axis=1)[:, :k]
            scores = np.take_along_axis(scores, kept, axis=1)
            numbers = np.take_along_axis(numbers, kept, axis=1)
    return [set(map(images.path, row)) for row in numbers.tolist()]
