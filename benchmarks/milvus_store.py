"""A Milvus store beside the embedded one: recall, seconds, and whether a search says the same.

Run as  python -m benchmarks.milvus_store --clip-data FOLDER  where FOLDER has coco500_vitb16.npz:
500 photographs of COCO by OpenAI's ViT-B/16, with a caption each. The images are drawn near the
photographs as in scan_recall.py; 200 of the captions are queries and the other 297 stand for the
everyday words that relevance weighs a query against. The server is the one that `make test`
installs, in a process of its own, unless --store names another. Needs clipkit[milvus].

Shapes: N images, Q queries, D dimensions.
"""

import argparse
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.scan_recall import blocks
from clipkit.background_words import BACKGROUND_NAMES
from clipkit.embeddings import Embeddings, normalize_rows
from clipkit.search.filters import IndexFilter, Selection
from clipkit.search.location import LibraryPlace
from clipkit.search.query_vectors import PartVector, QueryVectors
from clipkit.search.ranking import plain_score, rank
from clipkit.search.relevance import stored_background
from clipkit.search.search import HitOptions, SearchHits, find_hits
from clipkit.search.store.base import ALL, VectorStore
from clipkit.search.store.local.catalog import Catalog
from clipkit.search.store.local.store import CATALOG_NAME, LocalStore
from clipkit.search.store.local.writer import LibraryWriter
from clipkit.search.store.milvus.address import read_address
from clipkit.search.store.milvus.ann_index import IndexKind
from clipkit.search.store.milvus.connection import MilvusConnection
from clipkit.search.store.milvus.store import MilvusStore
from clipkit.search.store.records import CatalogMeta, ImageRow
from clipkit.search.store_sync import RECALL_AT, exact_neighbours, sync_store
from tests.search.store.milvus_server import MilvusServer

_FOLDERS = 100  # that the images are in; the filters keep one of them
KINDS: tuple[IndexKind, ...] = ("flat", "ivf", "hnsw")
# One in a hundred: said to the server, and found out by asking for every path.
FILTERS = {
    "all": ALL,
    "1 %, a folder": Selection("37/"),
    "1 %, a name": Selection(accepted=IndexFilter(path="*37.jpg")),
}


def main() -> None:
    """Make both stores, search them, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clip-data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--rows", type=int, default=200_000, metavar="N")
    parser.add_argument("--queries", type=int, default=100, metavar="Q")
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=[*KINDS, "diskann"])
    parser.add_argument("--store", metavar="URL", help="a collection to use; it is deleted")
    arguments = parser.parse_args()
    with np.load(arguments.clip_data / "coco500_vitb16.npz") as stored:
        photos = normalize_rows(stored["image"])
        captions = normalize_rows(stored["caption_text"])
    words, queries = np.split(captions, [len(BACKGROUND_NAMES)])
    queries = queries[: arguments.queries]
    with TemporaryDirectory() as directory, _server(arguments.store, Path(directory)) as url:
        place = LibraryPlace(Path(directory), Path(directory) / "index")
        _write(place, photos, words, arguments.rows)
        store = MilvusStore(MilvusConnection(read_address(url), on_retry=print))
        with place.store.snapshot() as snapshot:
            exact = exact_neighbours(snapshot, queries, RECALL_AT)
        print(f"{arguments.rows} images, {len(queries)} texts as queries, k = 50\n")
        print("| store | recall@50 | filter | p50, ms | p95, ms |\n|---|--:|---|--:|--:|")
        _print_rows("embedded", place.store, queries, exact)
        expected = _searches(place.store, queries)
        for kind in arguments.kinds:
            start = time.perf_counter()
            report = sync_store(place, store, kind=kind)
            seconds = time.perf_counter() - start
            _print_rows(f"Milvus, {kind}", store, queries, exact)
            told = f"{report.sent} sent, recall of everyday words {report.recall}"
            print(f"<!-- {kind}: {seconds:.1f} s, {told}, {store.index()};")
            print(f"     {_compared(_searches(store, queries), expected)} -->", flush=True)
        store.drop()


@contextmanager
def _server(url: str | None, directory: Path) -> Iterator[str]:
    """Give a collection's URL, of a server of our own if none is named."""
    if url is not None:
        yield url
        return
    server = MilvusServer(directory / "server")
    server.start()
    try:
        yield server.url("benchmark")
    finally:
        server.stop()


def _write(place: LibraryPlace, photos: Embeddings, words: Embeddings, num: int) -> None:
    """Write an index of images near photographs, as a sync does."""
    meta = CatalogMeta("", "", photos.shape[1], "ViT-B-16", "", "", "", "vectors-1.f16")
    place.store.create(meta)
    catalog = Catalog.open(place.location / CATALOG_NAME, place.folder)
    assert catalog is not None
    with catalog, LibraryWriter(catalog, place.location, meta) as writer:
        catalog.write_background(BACKGROUND_NAMES, words)
        for first, rows in blocks(photos, num):
            writer.add(list(map(_record, range(first, first + len(rows)))), rows)


def _record(number: int) -> ImageRow:
    digest = hashlib.blake2b(b"%d" % number, digest_size=16).digest()
    path = f"{number % _FOLDERS:02}/{number // _FOLDERS:06}{number * 7 % _FOLDERS:02}.jpg"
    return ImageRow(path, number, 10**18, 0, digest=digest, width=4000, height=3000)


def _print_rows(
    name: str, store: LocalStore | MilvusStore, queries: Embeddings, exact: list[set[str]]
) -> None:
    """Print how much of what is nearest a store finds, and how long it takes."""
    for label, where in FILTERS.items():
        seconds, shares = [], []
        for query, right in zip(queries, exact, strict=True):
            start = time.perf_counter()
            with store.snapshot() as snapshot:
                found, _ = rank(snapshot, plain_score(PartVector(query)), k=RECALL_AT, where=where)
            seconds.append(1000 * (time.perf_counter() - start))
            shares.append(len(right.intersection(found.paths)) / len(right))
        recall = f"{np.mean(shares):.4f}" if where is ALL else ""
        p50, p95 = np.percentile(seconds, (50, 95))
        print(f"| {name} | {recall} | {label} | {p50:.0f} | {p95:.0f} |", flush=True)


def _searches(store: VectorStore, queries: Embeddings) -> list[SearchHits]:
    """Return what whole searches say, with relevance and verdict."""
    nothing = np.empty((0, 0), np.float32)
    locate: Callable[[str], Path] = Path
    found = []
    for query in queries:
        vectors = QueryVectors((PartVector(query),), nothing, nothing, frozenset())
        with store.snapshot() as snapshot:
            words = stored_background(snapshot.background())
            assert words is not None
            found.append(find_hits(snapshot, vectors, ALL, words, HitOptions(), locate))
    return found


def _compared(found: list[SearchHits], expected: list[SearchHits]) -> str:
    """Return how far the searches of two stores agree."""
    pairs = list(zip(found, expected, strict=True))
    same_hits = sum(
        [hit.path for hit in here] == [hit.path for hit in there] for here, there in pairs
    )
    same_verdicts = sum(
        (here.verdict, here.num_searched) == (there.verdict, there.num_searched)
        for here, there in pairs
    )
    shifts = [
        abs(one.relevance - other.relevance)
        for here, there in pairs
        for one, other in zip(here, there, strict=False)
        if one.path == other.path
    ]
    return (
        f"of {len(pairs)} searches {same_hits} with the same 10 hits in the same order, "
        f"{same_verdicts} with the same verdict; relevance differs by {max(shifts, default=0):.4f}"
    )


if __name__ == "__main__":
    main()
