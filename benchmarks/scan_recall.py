"""How many of the best images a search finds among a million, by real embeddings of CLIP.

Run as  python benchmarks/scan_recall.py --clip-data FOLDER  where FOLDER has coco500_vitb16.npz:
500 photographs of COCO by OpenAI's ViT-B/16, with a caption each. The images are drawn from the
photographs, each with noise of its own: they lie where CLIP's images lie, with its few dimensions
that are far larger than the others. Queries are captions, and photographs with other noise. None of
it is part of this repository.

Shapes: N images, K of a block, Q queries, D dimensions.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings, normalize_rows
from clipkit.search.filters import IndexFilter, Selection
from clipkit.search.query_vectors import PartVector
from clipkit.search.ranking import plain_score, rank
from clipkit.search.store.base import ALL
from clipkit.search.store.local.catalog import Catalog
from clipkit.search.store.local.store import CATALOG_NAME, LocalStore
from clipkit.search.store.local.writer import LibraryWriter
from clipkit.search.store.records import CatalogMeta, ImageRow

K = 50
_BLOCK = 1 << 14
_NOISE = 0.3  # of the photographs' deviation, in each dimension
_HUNDREDTHS = 100  # folders that the images are in, and a filter keeps one of


def main() -> None:
    """Make the index in a temporary directory, search it, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip-data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--rows", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--queries", type=int, default=100, metavar="Q")
    arguments = parser.parse_args()
    with np.load(arguments.clip_data / "coco500_vitb16.npz") as stored:
        photos = normalize_rows(stored["image"])
        captions = normalize_rows(stored["caption_text"])[: arguments.queries]
    like = _near(photos, np.arange(len(captions)), np.random.default_rng(1))
    with TemporaryDirectory() as directory:
        store = _write(Path(directory), photos, arguments.rows)
        for kind, queries in (("texts", captions), ("images", like)):
            for name, folder in (("all", None), ("1 % kept", 37)):
                _print_recall(f"{kind}, {name}", store, queries, photos, arguments.rows, folder)


def blocks(photos: Embeddings, num: int) -> Iterator[tuple[int, Embeddings]]:
    """Yield the number of a block's first image and the embeddings of the block, (K, D)."""
    for first in range(0, num, _BLOCK):
        rng = np.random.default_rng([0, first])
        drawn = rng.integers(len(photos), size=min(_BLOCK, num - first))
        yield first, _near(photos, drawn, rng)


def _near(photos: Embeddings, drawn: NDArray[np.int64], rng: np.random.Generator) -> Embeddings:
    """Return embeddings near those of some photographs."""
    noise = rng.standard_normal((len(drawn), photos.shape[1]), dtype=np.float32)
    return normalize_rows(photos[drawn] + _NOISE * photos.std(axis=0) * noise)


def _write(directory: Path, photos: Embeddings, num: int) -> LocalStore:
    store = LocalStore(directory / "index", directory)
    meta = CatalogMeta("", "", photos.shape[1], "", "", "", "", "vectors-1.f16")
    store.create(meta)
    catalog = Catalog.open(directory / "index" / CATALOG_NAME, directory)
    assert catalog is not None
    with catalog, LibraryWriter(catalog, directory / "index", meta) as writer:
        for first, rows in blocks(photos, num):
            numbers = range(first, first + len(rows))
            writer.add([ImageRow(_path(number), 1, 1, 0) for number in numbers], rows)
    return store


def _path(number: int) -> str:
    return f"{number % _HUNDREDTHS:02}/{number}.jpg"


def _print_recall(
    name: str,
    store: LocalStore,
    queries: Embeddings,
    photos: Embeddings,
    num: int,
    folder: int | None,
) -> None:
    best = _exact_paths(queries, photos, num, folder)
    glob = None if folder is None else f"{folder:02}/*"
    where = ALL if glob is None else Selection(accepted=IndexFilter(path=glob))
    shares, seconds, candidates = [], [], []
    for query, expected in zip(queries, best, strict=True):
        with store.snapshot() as snapshot:
            start = time.perf_counter()
            score = plain_score(PartVector(query))
            found, _ = rank(snapshot, score, k=K, where=where)
            seconds.append(time.perf_counter() - start)
            if len(candidates) < 5:
                candidates.append(len(snapshot.candidates(score, K, where).ids))
        shares.append(len(set(found.paths) & expected) / K)
    print(
        f"{name:18} recall@{K} {np.mean(shares):.4f}, worst {min(shares):.2f}; median "
        f"{1000 * float(np.median(seconds)):.0f} ms a search, {np.mean(candidates):.0f} candidates",
        flush=True,
    )


def _exact_paths(
    queries: Embeddings, photos: Embeddings, num: int, folder: int | None
) -> list[set[str]]:
    """Return the paths of the K closest images to each query, by NumPy's float32."""
    numbers = np.zeros((len(queries), 0), np.int64)
    scores = np.zeros((len(queries), 0), np.float32)
    for first, rows in blocks(photos, num):
        block = np.arange(first, first + len(rows))
        if folder is not None:
            rows, block = rows[block % _HUNDREDTHS == folder], block[block % _HUNDREDTHS == folder]
        scores = np.concatenate([scores, queries @ rows.T], axis=1)
        numbers = np.concatenate([numbers, np.tile(block, (len(queries), 1))], axis=1)
        if scores.shape[1] > K:
            kept = np.argpartition(-scores, K - 1, axis=1)[:, :K]
            scores = np.take_along_axis(scores, kept, axis=1)
            numbers = np.take_along_axis(numbers, kept, axis=1)
    return [set(map(_path, row)) for row in numbers.tolist()]


if __name__ == "__main__":
    main()
