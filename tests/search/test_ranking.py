"""The score of an image and the best images, against the obvious way to find them."""

import math
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipkit.embeddings import Embeddings, normalize_rows
from clipkit.errors import InputError
from clipkit.search.filters import IndexFilter, Selection
from clipkit.search.query_vectors import PartVector, QueryVectors
from clipkit.search.ranking import (
    QueryScore,
    Subtraction,
    exact_products,
    mixed_score,
    rank,
)
from clipkit.search.store.local.catalog import Catalog
from clipkit.search.store.local.store import LocalSnapshot
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


@given(seed=st.integers(0, 2**32 - 1), is_centered=st.booleans(), num_subtracted=st.integers(0, 2))
def test_an_image_is_as_close_to_each_direction_as_the_closest_of_its_rows(
    seed: int, *, is_centered: bool, num_subtracted: int
) -> None:
    generator = np.random.default_rng(seed)
    views = normalize_rows(generator.normal(size=(6 * 5, 3))).reshape(6, 5, 3)
    first, *others = normalize_rows(generator.normal(size=(1 + num_subtracted, 3)))
    center = 0.3 * generator.random(3).astype(np.float32) if is_centered else None
    subtracted = tuple(Subtraction(each, 0.2, 0.5) for each in others)
    score = QueryScore(first, center, 0.4, subtracted)
    products = exact_products(views, score.directions)
    assert products.shape == (1 + num_subtracted + is_centered, 6, 5)
    origin = np.zeros(3) if center is None else center.astype(np.float64)
    for image, rows in enumerate(views.astype(np.float64)):
        seen = (rows - origin) / np.linalg.norm(rows - origin, axis=1, keepdims=True)
        expected = max(float(row @ first) for row in seen)
        for each in others:
            spreads = max(float(row @ each) for row in seen) / 0.2
            expected -= 0.4 * 0.5 * max(spreads - 2, 0)
        expected = max(expected, -1.0)
        assert score.scores(products)[image] == pytest.approx(expected, abs=1e-5)
        lowest, highest = (bound[image] for bound in score.bounds(products, 0.01))
        assert lowest <= expected + 1e-5
        assert expected - 1e-5 <= highest
        cosines = [float(row @ first) for row in seen]
        assert cosines[score.matched_rows(products)[image]] == pytest.approx(max(cosines), abs=1e-5)


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
    hidden = frozenset({"odd/800", "even/801", "absent"})
    vectors = VectorReader(tmp_path / "vectors-1.f16", 3, NUM_ROWS, Path())
    snapshot = LocalSnapshot(catalog, META, vectors)
    found, scores = rank(snapshot, QueryScore(query), k=k, where=Selection(prefix, hidden=hidden))
    stored = rows.astype(np.float16).astype(np.float64)
    stored /= np.linalg.norm(stored, axis=1, keepdims=True)
    expected = sorted(
        (-stored[row][0], path, row)
        for path, row in live.items()
        if path.startswith(prefix) and path not in hidden
    )
    assert found.paths == [path for _, path, _ in expected[:k]]
    assert found.ids.tolist() == [row for _, _, row in expected[:k]]
    assert scores == pytest.approx([-negative for negative, _, _ in expected[:k]], abs=1e-12)


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
    subtracted = tuple(Subtraction(other, 0.2 + 0.1 * i, 0.5 + i) for i, other in enumerate(others))
    score = QueryScore(query, center, 0.3, subtracted)
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
            _, found = rank(LocalSnapshot(catalog, META, vectors), score, k=k)
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
    assert found == pytest.approx(best[:k], abs=1e-5)


@pytest.mark.parametrize("k", [1, 5, 10, 50])
def test_k_images_come_back_whenever_k_pass(tmp_path: Path, k: int) -> None:
    """A filter keeps the worst hundredth of a thousand images."""
    angles = np.linspace(0, 1.5, 1000)
    with VectorWriter(tmp_path / "vectors-1.f16", 2, 0) as writer:
        writer.append(np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32))
    images = [ImageRow(f"{row:04}", 1, 1, row, width=row) for row in range(1000)]
    catalog = Catalog.open(tmp_path / "catalog.sqlite", Path(), create=True)
    assert catalog is not None
    with catalog:
        catalog.write(META, images=images)
        vectors = VectorReader(tmp_path / "vectors-1.f16", 2, 1000, Path())
        found, _ = rank(
            LocalSnapshot(catalog, META, vectors),
            QueryScore(np.array([1, 0], dtype=np.float32)),
            k=k,
            where=Selection(accepted=IndexFilter(min_width=990)),
        )
    assert found.ids.tolist() == list(range(990, 1000))[:k]


def test_products_are_equal_for_equal_rows_wherever_they_lie() -> None:
    generator = np.random.default_rng(0)
    row = normalize_rows(generator.normal(size=(1, 509))).astype(np.float16)
    query = normalize_rows(generator.normal(size=(1, 509)))
    (found,) = exact_products(np.repeat(row, 67, axis=0).astype(np.float32), query)
    (alone,) = exact_products(row.astype(np.float32), query)
    assert set(found.tolist()) == set(alone.tolist())
    expected = sum(float(a) * float(b) for a, b in zip(row[0], query[0], strict=True))
    expected /= math.hypot(*map(float, row[0]))
    assert found[0] == pytest.approx(expected, abs=1e-12)


# Queries of several parts, by hand

NONE = np.empty((0, 2), dtype=np.float32)
# Four directions around the origin, so that it is their centre.
AROUND = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], dtype=np.float32)
RIGHT, UP = AROUND[0], AROUND[2]
SLANT = np.array([0.6, 0.8], dtype=np.float32)


def ask(*parts: PartVector, liked: object = NONE, disliked: object = NONE) -> QueryVectors:
    return QueryVectors(parts, np.asarray(liked), np.asarray(disliked), frozenset())


def test_what_is_subtracted_is_no_part_of_the_direction() -> None:
    score = mixed_score(ask(PartVector(RIGHT, 4.0), PartVector(SLANT, -3.0)), AROUND, AROUND)
    np.testing.assert_allclose(score.direction, RIGHT, atol=1e-6)
    (part,) = score.subtracted
    np.testing.assert_allclose(part.direction, SLANT, atol=1e-6)
    assert part.strength == pytest.approx(3 / 4)
    # Words on images: of 16 cosines 8 are 0, 4 are -1, and 4 are those of equals, left out.
    assert part.spread == score.spread == pytest.approx((4 / 12) ** 0.5)


def test_images_are_compared_with_other_images() -> None:
    images = normalize_rows([[1.0, 0.0], [-1.0, 0.0], [0.6, 0.8], [-0.6, -0.8]])
    parts = PartVector(RIGHT), PartVector(UP, -1.0, is_image=True)
    (part,) = mixed_score(ask(*parts), images, AROUND).subtracted
    # Each has one opposite (-1) and two at .6 or -.6.
    assert part.spread == pytest.approx(((1 + 2 * 0.36) / 3) ** 0.5)


def test_with_nothing_added_the_way_is_away() -> None:
    score = mixed_score(ask(PartVector(RIGHT, -1.0), PartVector(UP, -1.0)), AROUND, AROUND)
    np.testing.assert_allclose(score.direction, [-(0.5**0.5), -(0.5**0.5)], atol=1e-6)
    assert score.subtracted == ()


def test_with_images_marked_what_is_subtracted_stays_subtracted() -> None:
    query = ask(PartVector(UP, -1.0), liked=[[1.0, 0.0]])
    score = mixed_score(query, AROUND, AROUND)
    np.testing.assert_allclose(score.direction, RIGHT, atol=1e-6)
    assert len(score.subtracted) == 1


@pytest.mark.parametrize("weights", [(1.0, -1.0), (1.0, -0.1), (5.0, -1.0)])
def test_subtracting_what_is_sought_cancels_out(weights: tuple[float, float]) -> None:
    parts = [PartVector(RIGHT, weight) for weight in weights]
    with pytest.raises(InputError, match="cancel out"):
        mixed_score(ask(*parts), AROUND, AROUND)
