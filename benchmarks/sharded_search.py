"""Approximate search over many shards, simulated: recall against probes, shards and precision.

Run as  python benchmarks/sharded_search.py --clip-data FOLDER  with clipkit[milvus-lite,evaluate],
where FOLDER has coco500_vitb16.npz and lvis1203_vitb32.npz. Images are drawn as clip_geometry.py
says, from a seed; queries are texts, and images that are not among them. A text is looked up as it
is, and moved by the difference of the mean image and the mean text, which only chooses where to
look: scores are always those of the text. The right answer is the 50 best by float32 over all rows.

No index is built for it. A cell is the part of the rows that is nearest to one of the centres of
k-means; an index with inverted lists finds an image if it probes the image's cell, and one that
keeps codes finds it if the code is among the best that are compared exactly. So the ranks of cells
and codes say all recalls at once. With both, a rank among all codes is taken for one among the
probed, which is no better: recall is a lower bound there.

Shapes: N rows, Q queries, D dimensions, C cells.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from clip_geometry import ClipGeometry, GeometryCheck, RealSet, read_sets
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings, normalize_rows
from clipkit.quantizer import EmbeddingQuantizer

K = 50
QUERIES = 200
SHARES = (0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)  # of the rows that are compared
ENOUGH = (0.95, 0.99)
SHARDS = (1, 4, 16, 64)  # each with cells of its own
ROUTED = (16, 64, 256)  # shards that are themselves cells, of which a query asks a few
KEPT = (50, 100, 200, 500, 1000, 2000, 5000)  # candidates that are compared exactly
_CELLS_BY_ROOT = 4  # cells for a square root of the rows
_TRAINED_BY = 39  # rows a cell that k-means sees, as FAISS asks
_QUERY_SEED, _CELL_SEED = 77, 5
_BLOCK = 1 << 16
_MEASURED_ROWS = 1 << 16  # that rates are measured on


@dataclass(frozen=True)
class Queries:
    """Queries of one kind."""

    kind: str
    rows: Embeddings  # (Q, D), what images are scored by
    routes: Embeddings  # (Q, D), what cells are chosen by


@dataclass(frozen=True)
class Cells:
    """Parts of the rows."""

    centers: Embeddings  # (C, D)
    of_row: NDArray[np.int64]  # (N,), the cell of each

    @classmethod
    def trained(cls, rows: Embeddings, number: int) -> "Cells":
        """Return the cells of k-means by inner product."""
        kmeans = faiss.Kmeans(
            rows.shape[1], number, niter=10, spherical=True, seed=_CELL_SEED,
            min_points_per_centroid=1, max_points_per_centroid=_TRAINED_BY,
        )  # fmt: skip
        kmeans.train(rows)
        of_row = np.concatenate(
            [
                kmeans.assign(rows[first : first + _BLOCK])[1]
                for first in range(0, len(rows), _BLOCK)
            ]
        )
        return cls(kmeans.centroids, of_row.astype(np.int64))

    @property
    def sizes(self) -> NDArray[np.int64]:
        """How many rows each has, shape (C,)."""
        return np.bincount(self.of_row, minlength=len(self.centers))


def best_rows(queries: Embeddings, rows: Embeddings, k: int) -> NDArray[np.int64]:
    """Return the numbers of the k rows of the largest inner products, best first, (Q, k)."""
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    return index.search(queries, k)[1].astype(np.int64)


def probe_shares(routes: Embeddings, cells: Cells) -> NDArray[np.float64]:
    """Return the share of the rows that is compared once a query has probed a cell.

    Cells are probed in the order of their inner products with the query.

    Args:
        routes: Shape (Q, D).
        cells: C of them.

    Returns:
        Shape (Q, C): from the size of the cell alone, for the first, to 1 for the last.
    """
    order = np.argsort(-(routes @ cells.centers.T), axis=1, kind="stable")
    sizes = cells.sizes
    compared = np.cumsum(sizes[order], axis=1) / sizes.sum()
    shares = np.empty_like(compared)
    np.put_along_axis(shares, order, compared, axis=1)
    return shares


def needed_shares(queries: Queries, best: NDArray[np.int64], cells: Cells) -> NDArray[np.float64]:
    """Return how much has to be compared until each of the best rows is found, shape (Q, K)."""
    return np.take_along_axis(probe_shares(queries.routes, cells), cells.of_row[best], axis=1)


def recall_at_shares(needed: NDArray[np.float64], shares: Sequence[float]) -> list[float]:
    """Return the recall where a query stops before more than a share of the rows is compared."""
    return [float((needed <= share).mean()) for share in shares]


def share_for(needed: NDArray[np.float64], recall: float) -> float:
    """Return the smallest share of the rows with which a recall is reached."""
    return float(np.sort(needed, axis=None)[int(np.ceil(recall * needed.size)) - 1])


def code_ranks(found: NDArray[np.int64], best: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place of each of the best rows among the best codes, from 0; -1: it is not there.

    Args:
        found: Shape (Q, R), best code first.
        best: Shape (Q, K).

    Returns:
        Shape (Q, K).
    """
    ranks = np.full(best.shape, -1, dtype=np.int64)
    for query, (codes, rows) in enumerate(zip(found, best, strict=True)):
        place_of = {int(row): place for place, row in enumerate(codes)}
        ranks[query] = [place_of.get(int(row), -1) for row in rows]
    return ranks


def recall_at_kept(ranks: NDArray[np.int64], kept: Sequence[int]) -> list[float]:
    """Return the recall when so many codes are compared exactly."""
    return [float(((ranks >= 0) & (ranks < number)).mean()) for number in kept]


def answers_needed(shards: int, *, k: int = K, recall: float = 0.99) -> int:
    """Return how many hits each of equal shards must answer, so that the best k lose so few.

    Rows are in a shard by chance. The i-th best row (from 0) is lost where as many better rows are
    in its shard as the shard answers: each of i rows is with 1 / shards.
    """
    for answers in range(1, k + 1):
        if _kept_by_chance(shards, answers, k) >= recall:
            return answers
    return k


def _kept_by_chance(shards: int, answers: int, k: int) -> float:
    """Return the share of the best k rows that shards give when each answers so many."""
    chance = 1 / shards
    before = np.zeros(k + 1)  # how likely so many better rows are in the same shard
    before[0] = 1.0
    kept = 0.0
    for _ in range(k):
        kept += before[:answers].sum()
        before[1:], before[0] = (
            before[1:] * (1 - chance) + before[:-1] * chance,
            before[0] * (1 - chance),
        )
    return kept / k


def main() -> None:
    """Simulate each set, print, and write the plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clip-data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--rows", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--plot", type=Path, metavar="SVG", help="draw them there")
    arguments = parser.parse_args()
    results = {real.name: simulate(real, arguments.rows) for real in read_sets(arguments.clip_data)}
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    if arguments.plot:
        from sharded_search_plot import draw

        draw(results, arguments.plot)


def simulate(real: RealSet, number: int) -> dict[str, object]:
    """Return all figures of one set, and print them."""
    print(f"\n{real.name}: {number} rows", flush=True)
    check = {name: list(pair) for name, pair in vars(GeometryCheck.of(real)).items()}
    for name, (there, drawn) in check.items():
        print(f"  {name:22} real {there:7.3f}  drawn {drawn:7.3f}")
    geometry = ClipGeometry.fitted(real.images)
    rows = geometry.draw(number, seed=0)
    texts, moved, images = make_queries(real, geometry, rows)
    kinds = [texts, images]
    right = {each.kind: best_rows(each.rows, rows, K) for each in kinds}
    return {
        "rows": number,
        "geometry": check,
        "growth": dict(_growth([texts, moved, images], rows)),
        "shards": dict(_own_cells(kinds, right, rows)),
        "routed": dict(_routed(kinds, right, rows)),
        "codes": dict(_codes(kinds, right, rows)),
        "answers": {shards: answers_needed(shards) for shards in (4, 16, 64, 256, 1024)},
        "rates": dict(_rates(rows)),
    }


def make_queries(real: RealSet, geometry: ClipGeometry, rows: Embeddings) -> list[Queries]:
    """Return texts, the same moved to the images, and images.

    The mean text is of texts that are no queries.
    """
    order = np.random.default_rng(_QUERY_SEED).permutation(len(real.texts))
    texts, others = real.texts[order[:QUERIES]], real.texts[order[QUERIES:]]
    moved = normalize_rows(texts + (rows[: 1 << 16].mean(axis=0) - others.mean(axis=0)))
    images = geometry.draw(QUERIES, seed=_QUERY_SEED)
    return [
        Queries("texts", texts, texts),
        Queries("texts, moved", texts, moved),
        Queries("images", images, images),
    ]


def _growth(kinds: Sequence[Queries], rows: Embeddings) -> Iterator[tuple[int, object]]:
    """Yield what has to be compared among a 16th, a 4th and all of the rows."""
    for number in (len(rows) // 16, len(rows) // 4, len(rows)):
        part = rows[:number]
        cells = Cells.trained(part, _num_cells(number))
        found: dict[str, object] = {"cells": len(cells.centers)}
        for each in kinds:
            needed = needed_shares(each, best_rows(each.rows, part, K), cells)
            found[each.kind] = _summary(needed)
            _tell(f"{number} rows, {len(cells.centers)} cells, {each.kind}", needed)
        yield number, found


def _own_cells(
    kinds: Sequence[Queries], right: Mapping[str, NDArray[np.int64]], rows: Embeddings
) -> Iterator[tuple[int, object]]:
    """Yield what has to be compared in shards that rows are in by chance, each with its cells.

    A shard has as many cells as suit its own rows.
    """
    for shards in SHARDS[1:]:
        needed = {each.kind: np.ones((QUERIES, K)) for each in kinds}
        for shard in range(shards):
            part = rows[shard::shards]
            cells = Cells.trained(part, _num_cells(len(part)))
            for each in kinds:
                best = right[each.kind]
                is_here = best % shards == shard
                shares = probe_shares(each.routes, cells)
                cell = cells.of_row[np.where(is_here, best // shards, 0)]
                here = np.take_along_axis(shares, cell, axis=1)
                needed[each.kind][is_here] = here[is_here]
        for each in kinds:
            _tell(f"{shards} shards, each with its cells, {each.kind}", needed[each.kind])
        yield shards, {kind: _summary(each) for kind, each in needed.items()}


def _routed(
    kinds: Sequence[Queries], right: Mapping[str, NDArray[np.int64]], rows: Embeddings
) -> Iterator[tuple[int, object]]:
    """Yield what has to be asked of shards that are cells, and how much the busiest is asked."""
    for shards in ROUTED:
        cells = Cells.trained(rows, shards)
        found = {}
        for each in kinds:
            needed = needed_shares(each, right[each.kind], cells)
            shares = probe_shares(each.routes, cells)
            asked = shares <= max(share_for(needed, ENOUGH[0]), shares.min())
            busiest = float(asked.mean(axis=0).max())
            num_asked = float(asked.sum(axis=1).mean())
            found[each.kind] = {**_summary(needed), "asked": num_asked, "busiest": busiest}
            _tell(f"{shards} shards that are cells, {each.kind}", needed)
            print(
                f"{'':8}for {ENOUGH[0]}: {num_asked:.1f} shards a query, the busiest by "
                f"{busiest:.0%} of the queries; largest shard {cells.sizes.max() / len(rows):.1%}"
            )
        yield shards, found


def _codes(
    kinds: Sequence[Queries], right: Mapping[str, NDArray[np.int64]], rows: Embeddings
) -> Iterator[tuple[str, object]]:
    """Yield the recall of codes, by how many of the best are compared exactly."""
    for name, num_bytes, search in _code_searches(rows):
        found: dict[str, object] = {"bytes": num_bytes}
        for each in kinds:
            ranks = code_ranks(search(each.rows), right[each.kind])
            recalls = recall_at_kept(ranks, KEPT)
            found[each.kind] = dict(zip(map(str, KEPT), recalls, strict=True))
            told = ", ".join(
                f"{kept}: {value:.3f}" for kept, value in zip(KEPT, recalls, strict=True)
            )
            print(f"  {name}, {num_bytes} bytes, {each.kind}: {told}", flush=True)
        yield name, found


def _code_searches(rows: Embeddings):
    """Yield the codes of one row after another: their name, their bytes, and a search of them."""
    dimensions = rows.shape[1]
    sample = rows[np.random.default_rng(_CELL_SEED).choice(len(rows), 1 << 15, replace=False)]
    most = max(KEPT)
    for precision, num_bytes in (("float16", 2 * dimensions), ("int8", dimensions)):
        quantizer = EmbeddingQuantizer.fit(sample, precision)
        rounded = np.concatenate(
            [
                quantizer.dequantize(quantizer.quantize(rows[first : first + _BLOCK]))
                for first in range(0, len(rows), _BLOCK)
            ]
        )
        yield (
            precision,
            num_bytes,
            lambda queries, rounded=rounded: best_rows(queries, rounded, most),
        )
    for name, factory, num_bytes in (
        ("products, 64", "PQ64", 64),
        ("products, 32", "PQ32", 32),
        ("one bit", "RaBitQ", dimensions // 8 + 8),
    ):
        index = faiss.index_factory(dimensions, factory, faiss.METRIC_INNER_PRODUCT)
        index.train(sample)
        for first in range(0, len(rows), _BLOCK):
            index.add(rows[first : first + _BLOCK])
        yield name, num_bytes, lambda queries, index=index: index.search(queries, most)[1]


def _rates(rows: Embeddings) -> Iterator[tuple[str, float]]:
    """Yield how many vectors a second one core takes to their cells, and compares as codes."""
    part = rows[:_MEASURED_ROWS]
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    centers = faiss.IndexFlatIP(rows.shape[1])
    centers.add(rows[: _num_cells(_MEASURED_ROWS)])
    yield "to cells", _rate(lambda: centers.search(part, 1), len(part))
    for name, factory in (
        ("products, 64", "PQ64"),
        ("products, 64 of 4 bits", "PQ64x4fs"),
        ("one bit", "RaBitQ"),
    ):
        index = faiss.index_factory(rows.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        index.train(part)
        index.add(part)
        yield name, _rate(lambda index=index: index.search(rows[:1], 100), len(part))
    faiss.omp_set_num_threads(threads)


def _rate(work: Callable[[], object], number: int) -> float:
    """Return how many a second, by the best of five runs."""
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    print(f"  {number / min(seconds):,.0f} a second and core", flush=True)
    return number / min(seconds)


def _num_cells(number: int) -> int:
    return round(_CELLS_BY_ROOT * number**0.5)


def _summary(needed: NDArray[np.float64]) -> dict[str, object]:
    return {
        "recall": dict(zip(map(str, SHARES), recall_at_shares(needed, SHARES), strict=True)),
        "share_for": {str(recall): share_for(needed, recall) for recall in ENOUGH},
    }


def _tell(what: str, needed: NDArray[np.float64]) -> None:
    recalls = recall_at_shares(needed, SHARES)
    told = ", ".join(
        f"{share:.2%}: {value:.3f}" for share, value in zip(SHARES, recalls, strict=True)
    )
    shares = ", ".join(f"{recall} by {share_for(needed, recall):.2%}" for recall in ENOUGH)
    print(f"  [{time.strftime('%T')}] {what}: {told}; {shares}", flush=True)


if __name__ == "__main__":
    main()
