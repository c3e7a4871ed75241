"""The best pictures for one embedding, against the obvious way to find them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from clipkit.embeddings import Embeddings, normalize_rows
from clipkit.search.catalog import Catalog, CatalogMeta, ImageRow
from clipkit.search.ranking import rank
from clipkit.search.vectors import VectorReader, VectorWriter

META = CatalogMeta(
    folder="",
    space_id="space",
    embed_dim=3,
    model="",
    engine="",
    precision="",
    clipkit_version="",
    vectors_file="vectors-1.f32",
)
NUM_ROWS = 200


@pytest.fixture
def rows() -> Embeddings:
    """Few directions, so that many rows are equal; ordered, so that the best lie together."""
    corners = np.random.default_rng(0).integers(-1, 2, size=(NUM_ROWS, 3))
    corners[~corners.any(axis=1)] = 1
    return normalize_rows(corners[np.argsort(-corners[:, 0], kind="stable")])


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    catalog = Catalog.open(tmp_path / "catalog.sqlite", Path(), create=True)
    assert catalog is not None
    with catalog:
        yield catalog


@pytest.mark.parametrize("num_dead", [0, 1, 150, 195, 200])
@pytest.mark.parametrize("k", [1, 3, 40, 500])
@pytest.mark.parametrize("prefix", ["", "odd/"])
def test_rank_is_a_plain_sort_of_the_live_pictures(
    catalog: Catalog, rows: Embeddings, tmp_path: Path, num_dead: int, k: int, prefix: str
) -> None:
    with VectorWriter(tmp_path / "vectors-1.f32", 3, 0) as writer:
        writer.append(rows)
    # The rows with the highest scores are the dead ones. Names go against the order of rows.
    live = {f"{'odd' if row % 2 else 'even'}/{999 - row}": row for row in range(num_dead, NUM_ROWS)}
    catalog.write(META, images=[ImageRow(path, 1, 1, row) for path, row in live.items()])
    query = np.array([1, 0, 0], dtype=np.float32)
    hidden = {"odd/800", "even/801", "absent"}
    vectors = VectorReader(tmp_path / "vectors-1.f32", 3, NUM_ROWS, Path())
    found = rank(catalog, vectors, query, k=k, prefix=prefix, hidden=hidden)
    expected = sorted(
        (-float(rows[row][0]), path)
        for path, row in live.items()
        if path.startswith(prefix) and path not in hidden
    )
    assert found == [(path, -negative) for negative, path in expected[:k]]
