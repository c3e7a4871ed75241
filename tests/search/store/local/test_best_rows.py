"""What a scan keeps, block by block, is what a look at all rows at once keeps."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clipkit.embeddings import normalize_rows
from clipkit.search.filters import IndexFilter, Selection
from clipkit.search.ranking import QueryScore
from clipkit.search.store.local import best_rows, store, vectors
from clipkit.search.store.local.best_rows import BestRows
from clipkit.search.store.local.store import LocalStore
from clipkit.search.store.records import CatalogMeta, ImageRow

DIM = 4
META = CatalogMeta("", "space", DIM, "starter", "", "", "", "vectors-1.f16")


@given(
    seed=st.integers(0, 2**32),
    num=st.integers(0, 60),
    num_wanted=st.one_of(st.integers(1, 5), st.integers(1, 70)),
    size=st.integers(1, 7),
)
def test_blocks_keep_what_one_look_at_everything_keeps(
    seed: int, num: int, num_wanted: int, size: int
) -> None:
    rng = np.random.default_rng(seed)
    lowest = rng.integers(-5, 5, num).astype(float)  # few different scores, so that there are ties
    highest = lowest + rng.integers(0, 3, num).astype(float)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(best_rows, "_LEAST_KEPT", 3)
        best = BestRows(num_wanted)
        for start in range(0, num, size):
            rows = np.arange(start, min(start + size, num))
            best.add(rows, lowest[rows], highest[rows])
        found, low, high = best.found()
    reached = sorted(lowest.tolist(), reverse=True)
    threshold = reached[num_wanted - 1] if num_wanted < num else -np.inf
    expected = [row for row in range(num) if highest[row] >= threshold]
    assert (found.tolist(), best.threshold) == (expected, threshold)
    assert (low.tolist(), high.tolist()) == (lowest[found].tolist(), highest[found].tolist())


def test_a_scan_holds_no_more_than_what_is_in_question() -> None:
    """A million rows pass; what is held meanwhile does not grow with them."""
    rng = np.random.default_rng(0)
    best = BestRows(200)
    most = 0
    for start in range(0, 1_000_000, 10_000):
        lowest = rng.normal(size=10_000)
        best.add(np.arange(start, start + 10_000), lowest, lowest + 0.01)
        most = max(most, best._num_kept)
    assert most <= 10_000 + 4096
    assert len(best.found()[0]) < 400


@given(data=st.data(), num=st.integers(10, 80), k=st.integers(1, 8))
@settings(max_examples=80)
def test_candidates_hold_the_best_whatever_was_removed_hidden_or_filtered_out(
    data: st.DataObject, num: int, k: int
) -> None:
    """The scan errs a lot, and the best images are likely to be gone."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    rows = normalize_rows(rng.normal(size=(num, DIM))).astype(np.float16).astype(np.float32)
    direction = normalize_rows(rng.normal(size=(1, DIM)))[0]
    cosines = rows @ direction
    names = [f"{number:02}.jpg" for number in rng.permutation(num)]
    by_score = [names[place] for place in np.argsort(-cosines)]
    likely = rng.permutation(by_score[: 3 * k])
    removed = set(likely[: data.draw(st.integers(0, 3 * k))].tolist())
    hidden = frozenset(rng.permutation(likely)[: data.draw(st.integers(0, 3))].tolist())
    min_width = data.draw(st.sampled_from([0, 30]))
    records = [ImageRow(name, 1, 1, -1, width=place) for place, name in enumerate(names)]
    with TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(best_rows, "_LEAST_KEPT", 5)
        patch.setattr(vectors, "_BLOCK_BYTES", data.draw(st.integers(1, 20)) * 4 * DIM)
        error = data.draw(st.sampled_from([0.002, 0.1, 0.4]))
        patch.setattr(store, "SCAN_ERROR", error)
        patch.setattr(vectors, "_products", partial(_rough_products, error=error, rng=rng))
        index = LocalStore(Path(directory) / "index", Path("photos"))
        index.create(META)
        index.upsert(records, rows)
        index.remove(removed)
        where = Selection(accepted=IndexFilter(min_width=min_width), hidden=hidden)
        with index.snapshot() as snapshot:
            found = snapshot.candidates(QueryScore(direction), k, where)
    passing = [
        record.path
        for record in records
        if (record.width or 0) >= min_width and record.path not in removed
    ]
    assert found.is_complete
    assert found.num_searched == len(passing)
    shown = [path for path in by_score if path in set(passing) - hidden]
    assert set(shown[:k]) <= set(found.paths) <= set(shown)
    assert len(set(found.paths)) == len(found.paths)


def _rough_products(
    queries: NDArray[np.floating],
    block: NDArray[np.floating],
    error: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Return inner products that are nearly as wrong as the scan is allowed to be."""
    exact = queries.astype(np.float64) @ block.T.astype(np.float64)
    return (exact + (error - 0.0015) * rng.uniform(-1, 1, exact.shape)).astype(np.float32)
