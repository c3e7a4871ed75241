"""The best images for one embedding, against the obvious way to find them."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipkit.embeddings import Embeddings, normalize_rows
from clipkit.search.ranking import Candidates, Subtracted, Target, rank
from clipkit.search.store.local.catalog import Catalog
from clipkit.search.store.local.vectors import VectorReader, VectorWriter
from clipkit.search.store.records import CatalogMeta, ImageRow
from tests.fakes import MEMORY

META = CatalogMeta(
    folder="",
    space_id="space",
    embed_dim=3,
    model="",
    engine="",
    precision="",
    clipkit_version="",
    vectors_file="vectors-1.f16",
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
def test_rank_is_a_plain_sort_of_the_live_images(
    catalog: Catalog, rows: Embeddings, tmp_path: Path, num_dead: int, k: int, prefix: str
) -> None:
    with VectorWriter(tmp_path / "vectors-1.f16", 3, 0) as writer:
        writer.append(rows)
    # The rows with the highest scores are the dead ones. Names go against the order of rows.
    live = {f"{'odd' if row % 2 else 'even'}/{999 - row}": row for row in range(num_dead, NUM_ROWS)}
    catalog.write(META, images=[ImageRow(path, 1, 1, row) for path, row in live.items()])
    query = np.array([1, 0, 0], dtype=np.float32)
    hidden = {"odd/800", "even/801", "absent"}
    vectors = VectorReader(tmp_path / "vectors-1.f16", 3, NUM_ROWS, Path())
    candidates = Candidates(prefix, hidden=hidden)
    found = rank(catalog, vectors, Target(query), k=k, candidates=candidates)
    stored = rows.astype(np.float16).astype(np.float64)
    stored /= np.linalg.norm(stored, axis=1, keepdims=True)
    expected = sorted(
        (-stored[row][0], path, row)
        for path, row in live.items()
        if path.startswith(prefix) and path not in hidden
    )
    assert [(hit.path, hit.row) for hit in found] == [(path, row) for _, path, row in expected[:k]]
    similarities = [-negative for negative, _, _ in expected[:k]]
    assert [hit.similarity for hit in found] == pytest.approx(similarities, abs=1e-12)


@pytest.mark.slow
@given(data=st.data(), num_rows=st.integers(1, 60), dim=st.sampled_from([64, 384]))
@settings(max_examples=40)
@pytest.mark.parametrize("num_subtracted", [0, 1, 2])
@pytest.mark.parametrize("is_centered", [False, True])
def test_rank_finds_the_same_as_exact_arithmetic(
    data: st.DataObject, num_rows: int, dim: int, is_centered: bool, num_subtracted: int
) -> None:
    """Directions lie so close together that a scan in half precision mistakes their order."""
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    # A wide library has its images far from their center, a narrow one all in one place.
    spread = data.draw(st.sampled_from([1e-3, 1e-2, 1.0]))
    middle = generator.normal(size=dim)
    rows = normalize_rows(middle + spread * generator.normal(size=(num_rows, dim)))
    query = normalize_rows(generator.normal(size=(1, dim)))[0]
    center = (0.9 * rows.mean(axis=0)).astype(np.float32) if is_centered else None
    seen = rows[0] - (0 if center is None else center)  # some rows show what is subtracted
    others = normalize_rows(seen + np.linalg.norm(seen) * generator.normal(size=(2, dim)) / dim)
    others = others[:num_subtracted]
    subtracted = tuple(Subtracted(other, 0.2 + 0.1 * i, 0.5 + i) for i, other in enumerate(others))
    target = Target(query, center, 0.3, subtracted)
    k = data.draw(st.integers(1, num_rows))
    names = [f"{row:03}" for row in generator.permutation(num_rows)]
    with TemporaryDirectory(dir=MEMORY) as directory:
        path = Path(directory) / "vectors-1.f16"
        with VectorWriter(path, dim, 0) as writer:
            writer.append(rows)
        catalog = Catalog.open(path.with_name("catalog.sqlite"), Path(), create=True)
        assert catalog is not None
        with catalog:
            catalog.write(META, images=[ImageRow(name, 1, 1, i) for i, name in enumerate(names)])
            vectors = VectorReader(path, dim, num_rows, Path())
            found = rank(catalog, vectors, target, k=k)
    stored = rows.astype(np.float16).astype(np.float64)
    stored /= np.linalg.norm(stored, axis=1, keepdims=True)
    if center is not None:
        stored -= center
        stored /= np.linalg.norm(stored, axis=1, keepdims=True)
    scores = stored @ query.astype(np.float64)
    for i, other in enumerate(others):
        spreads = stored @ other.astype(np.float64) / (0.2 + 0.1 * i)
        scores -= 0.3 * (0.5 + i) * np.maximum(spreads - 2, 0)
    best = np.sort(np.maximum(scores, -1))[::-1]
    assert [hit.similarity for hit in found] == pytest.approx(best[:k], abs=1e-5)
