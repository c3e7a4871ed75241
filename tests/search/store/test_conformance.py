"""What every vector store must do, run over each of them.

A new store joins by a line in STORES.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipkit.embeddings import Embeddings, normalize_rows
from clipkit.errors import InputError
from clipkit.search.filters import IndexFilter, Selection
from clipkit.search.ranking import QueryScore, Subtraction, rank
from clipkit.search.store.base import VectorStore
from clipkit.search.store.local.store import LocalStore
from clipkit.search.store.milvus.address import read_address
from clipkit.search.store.milvus.connection import MilvusConnection
from clipkit.search.store.milvus.schema import decode_path
from clipkit.search.store.milvus.store import MilvusStore
from clipkit.search.store.records import CatalogMeta, ImageRow
from tests.search.store.memory_store import MemoryStore
from tests.search.store.milvus_server import MilvusServer
from tests.search.store.slow_filter import passes

DIM = 8
SPACE = "of a model"
META = CatalogMeta("", SPACE, DIM, "", "", "", "", "vectors-1.f16")
ROUNDING = 1e-3  # what a store may lose of a number of a vector


def _local_store(directory: Path, _: pytest.FixtureRequest) -> VectorStore:
    store = LocalStore(directory / "index", Path("photos"))
    store.create(META)
    return store


def _memory_store(_: Path, __: pytest.FixtureRequest) -> VectorStore:
    return MemoryStore(DIM, SPACE)


def _milvus_file(_: Path, request: pytest.FixtureRequest) -> VectorStore:
    return _emptied(request.getfixturevalue("milvus_file_store"))


def _milvus_server(_: Path, request: pytest.FixtureRequest) -> VectorStore:
    return _emptied(request.getfixturevalue("milvus_server_store"))


def _emptied(store: MilvusStore) -> VectorStore:
    """Return a store without its images; emptying takes less than making one."""
    with store.snapshot() as snapshot:
        store.remove([decode_path(each["path"]) for each in snapshot.list_fields(["path"])])
    return store


@pytest.fixture(scope="module")
def milvus_file_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusStore]:
    pytest.importorskip("milvus_lite", reason="the extra milvus-lite is not installed")
    yield from _milvus_store(f"milvus://{tmp_path_factory.mktemp('lite')}/milvus.db")


@pytest.fixture(scope="module")
def milvus_server_store(milvus_server: MilvusServer) -> Iterator[MilvusStore]:
    pytest.importorskip("pymilvus", reason="the extra milvus is not installed")
    yield from _milvus_store(milvus_server.url("conformance"))


def _milvus_store(url: str) -> Iterator[MilvusStore]:
    store = MilvusStore(MilvusConnection(read_address(url, {})))
    store.create(META)
    yield store
    store.drop()
    store.close()


STORES: dict[str, Callable[[Path, pytest.FixtureRequest], VectorStore]] = {
    "local": _local_store,
    "memory": _memory_store,
    "milvus_file": _milvus_file,
    "milvus_server": _milvus_server,
}
MARKS = {"milvus_server": [pytest.mark.slow]}
# Those whose snapshots do not see later writes; others keep what they have read once.
HOLD_A_MOMENT = ("local", "memory")


@pytest.fixture(params=[pytest.param(name, marks=MARKS.get(name, [])) for name in STORES])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> VectorStore:
    return STORES[request.param](tmp_path, request)


@pytest.fixture
def holds_a_moment(request: pytest.FixtureRequest) -> bool:
    return request.node.callspec.params["store"] in HOLD_A_MOMENT


def _vectors(count: int, seed: int = 0) -> Embeddings:
    return normalize_rows(np.random.default_rng(seed).normal(size=(count, DIM)))


def _records(paths: Sequence[str]) -> list[ImageRow]:
    return [
        ImageRow(
            path,
            size=10 + number,
            mtime_ns=10**18 + number,
            row=-1,
            digest=path.encode("utf-8", "surrogateescape").ljust(16, b"\1")[:16],
            width=100 * number,
            height=300,
            taken_at=f"20{10 + number % 80}-05-01T12:00:00",
            camera="Canon" if number % 2 else None,
        )
        for number, path in enumerate(paths)
    ]


PATHS = [f"{folder}/{number:02}.jpg" for number in range(20) for folder in ("a", "b")]
RECORDS = _records(PATHS)
SCORE = QueryScore(_vectors(1, seed=1)[0])


def _spaced_vectors() -> Embeddings:
    """Return vectors whose scores are spaced evenly, so that no rounding can exchange two."""
    others = _vectors(len(PATHS))
    others -= (others @ SCORE.direction)[:, None] * SCORE.direction
    scores = np.random.default_rng(5).permutation(np.linspace(-0.9, 0.9, len(PATHS)))[:, None]
    rows = scores * SCORE.direction + np.sqrt(1 - scores**2) * normalize_rows(others)
    return normalize_rows(rows)


VECTORS = _spaced_vectors()


@pytest.fixture
def filled(store: VectorStore) -> VectorStore:
    store.upsert(RECORDS, VECTORS)
    return store


def _everything(store: VectorStore) -> dict[str, tuple[ImageRow, list[float]]]:
    """Return what a store holds of each image, but for the number it has there."""
    with store.snapshot() as snapshot:
        found = snapshot.candidates(SCORE, 10**6)
        records, vectors = snapshot.records(found.ids), snapshot.vectors(found.ids)
        assert [record.row for record in records] == found.ids.tolist()
        assert [record.path for record in records] == found.paths
        assert len(records) == snapshot.count()
    pairs = zip(records, vectors.tolist(), strict=True)
    return {record.path: (record._replace(row=-1), vector) for record, vector in pairs}


def test_a_new_store_is_empty(store: VectorStore) -> None:
    with store.snapshot() as snapshot:
        assert (snapshot.embed_dim, snapshot.space_id) == (DIM, SPACE)
        assert snapshot.count() == 0
        found = snapshot.candidates(SCORE, 5)
        assert (found.ids.tolist(), found.paths) == ([], [])
        assert snapshot.vectors([]).shape == snapshot.sample(5).shape == (0, DIM)
        assert snapshot.records([]) == []
        assert snapshot.find("a.jpg") is None
        assert dict(snapshot.background()) == {}
        assert rank(snapshot, SCORE, k=3)[1] == []


def test_the_store_tells_of_the_whole_without_a_snapshot(store: VectorStore) -> None:
    meta = store.meta()
    assert meta is not None
    assert (meta.embed_dim, meta.space_id) == (DIM, SPACE)
    assert store.count() == 0
    store.upsert(RECORDS, VECTORS)
    assert store.count() == len(PATHS)
    assert store.count("a/") == sum(path.startswith("a/") for path in PATHS)
    assert store.count_missing() == store.count_missing("a/") == 0


def test_what_is_put_in_is_what_comes_out(filled: VectorStore) -> None:
    found = _everything(filled)
    assert {path: record for path, (record, _) in found.items()} == {
        record.path: record for record in RECORDS
    }
    np.testing.assert_allclose([found[path][1] for path in PATHS], VECTORS, atol=ROUNDING)


def test_upsert_replaces_what_is_known_of_a_path(filled: VectorStore) -> None:
    changed = RECORDS[3]._replace(size=999, digest=b"\2" * 16)
    new = _records(["c/new.jpg"])[0]
    vectors = _vectors(2, seed=2)
    filled.upsert([changed, new], vectors)
    found = _everything(filled)
    assert set(found) == {*PATHS, "c/new.jpg"}
    assert found[changed.path][0] == changed
    np.testing.assert_allclose(found[changed.path][1], vectors[0], atol=ROUNDING)
    np.testing.assert_allclose(found["c/new.jpg"][1], vectors[1], atol=ROUNDING)
    np.testing.assert_allclose(found[PATHS[4]][1], VECTORS[4], atol=ROUNDING)


@pytest.mark.parametrize("shape", [(1, DIM), (3, DIM), (2, DIM - 1), (DIM,)])
def test_vectors_that_do_not_fit_the_records_change_nothing(
    filled: VectorStore, shape: tuple[int, ...]
) -> None:
    before = _everything(filled)
    with pytest.raises(InputError):
        filled.upsert(_records(["x", "y"]), np.ones(shape, np.float32))
    assert _everything(filled) == before


def test_remove_forgets_images_and_no_others(filled: VectorStore) -> None:
    filled.remove([*PATHS[::3], "never/there.jpg"])
    assert set(_everything(filled)) == set(PATHS) - set(PATHS[::3])
    filled.remove(PATHS)
    assert _everything(filled) == {}
    filled.upsert(RECORDS[:2], VECTORS[:2])  # and they may come again
    assert set(_everything(filled)) == set(PATHS[:2])


def test_a_snapshot_does_not_see_later_writes(filled: VectorStore, *, holds_a_moment: bool) -> None:
    if not holds_a_moment:
        pytest.skip("this store keeps no past states for its readers")
    with filled.snapshot() as snapshot:
        ids = snapshot.candidates(SCORE, 10**6).ids
        before = (snapshot.records(ids), snapshot.vectors(ids).tolist(), snapshot.count())
        filled.remove(PATHS[:30])
        filled.upsert(_records(["new.jpg"]), _vectors(1, seed=3))
        filled.upsert([RECORDS[35]._replace(size=1)], _vectors(1, seed=4))
        assert snapshot.candidates(SCORE, 10**6).ids.tolist() == ids.tolist()
        assert (snapshot.records(ids), snapshot.vectors(ids).tolist(), snapshot.count()) == before
        assert snapshot.find("new.jpg") is None
    with filled.snapshot() as snapshot:
        assert snapshot.count() == 11
        assert snapshot.find("new.jpg") is not None


def test_a_snapshot_keeps_what_it_has_read(filled: VectorStore) -> None:
    """Also of a store that holds no moment: one search does not contradict itself."""
    with filled.snapshot() as snapshot:
        first = snapshot.candidates(SCORE, 10**6)
        ids, known = first.ids, dict(zip(first.paths, first.ids.tolist(), strict=True))
        before = (snapshot.records(ids), snapshot.vectors(ids).tolist())
        filled.remove(PATHS[:30])
        filled.upsert([RECORDS[35]._replace(size=1)], _vectors(1, seed=4))
        again = snapshot.candidates(SCORE, 5)
        assert [known.get(path) for path in again.paths] == again.ids.tolist()
        assert (snapshot.records(ids), snapshot.vectors(ids).tolist()) == before


def test_a_snapshot_sees_all_that_was_written_before_it(filled: VectorStore) -> None:
    for number in range(10):
        new = _records([f"new/{number}.jpg"])
        filled.upsert(new, _vectors(1, seed=number))
        with filled.snapshot() as snapshot:
            assert snapshot.count() == len(PATHS) + number + 1
            assert snapshot.find(new[0].path) is not None
        filled.remove([PATHS[number]])
        filled.upsert([RECORDS[number]], VECTORS[number : number + 1])
        with filled.snapshot() as snapshot:
            assert snapshot.count() == len(PATHS) + number + 1


ODD_PATHS = [
    "a/caf\udce9.jpg",  # no valid Unicode
    "a/\x01.jpg",
    "a/one\ntwo\r\t.jpg",
    'a/it\'s "so" \\ 100%_.jpg',
    "a/😀é.jpg",
    "b\udcff/1.jpg",
    "a" * 200 + "/" + "b" * 200,
]


def test_any_name_of_a_file_is_kept(store: VectorStore) -> None:
    store.upsert(_records(ODD_PATHS), VECTORS[: len(ODD_PATHS)])
    assert set(_everything(store)) == set(ODD_PATHS)
    with store.snapshot() as snapshot:
        for path in ODD_PATHS:
            found = snapshot.find(path)
            assert found is not None
            assert found.path == path
        assert snapshot.count(Selection("a/")) == 5
        assert snapshot.count(Selection("b\udcff/")) == 1
        assert snapshot.count(Selection("b/")) == 0
        assert snapshot.candidates(SCORE, 9, Selection(hidden=frozenset(ODD_PATHS))).paths == []
    store.remove(ODD_PATHS[1:])
    assert set(_everything(store)) == set(ODD_PATHS[:1])


def test_of_one_path_given_twice_the_last_counts(store: VectorStore) -> None:
    first, last = RECORDS[0], RECORDS[0]._replace(size=77)
    store.upsert([first, last], VECTORS[:2])
    found = _everything(store)
    assert found[first.path][0] == last
    np.testing.assert_allclose(found[first.path][1], VECTORS[1], atol=ROUNDING)


def test_vectors_and_records_are_in_the_order_of_the_ids(filled: VectorStore) -> None:
    with filled.snapshot() as snapshot:
        found = [snapshot.find(path) for path in PATHS]
        ids = np.array([image.row for image in found if image])
        order = np.array([7, 3, 3, 39, 0, 12])
        assert [record.path for record in snapshot.records(ids[order])] == [
            PATHS[place] for place in order
        ]
        np.testing.assert_allclose(snapshot.vectors(ids[order]), VECTORS[order], atol=ROUNDING)
        views = snapshot.with_crops(ids[order])  # without crops: the wholes alone
        np.testing.assert_array_equal(views, snapshot.vectors(ids[order])[:, None])


@pytest.mark.parametrize("read", ["vectors", "records"])
@pytest.mark.parametrize("where", ["never", "removed"])
def test_an_unknown_id_is_a_plain_error(filled: VectorStore, read: str, where: str) -> None:
    with filled.snapshot() as snapshot:
        image = snapshot.find(PATHS[5])
        assert image is not None
    unknown = image.row if where == "removed" else 10**6
    filled.remove([PATHS[5]])
    with filled.snapshot() as snapshot:
        known = snapshot.find(PATHS[0])
        assert known is not None
        with pytest.raises(InputError, match=f"no image with the id {unknown}"):
            getattr(snapshot, read)([known.row, unknown])


def test_an_image_is_found_by_its_path_and_by_its_files_size_and_time(filled: VectorStore) -> None:
    with filled.snapshot() as snapshot:
        image = snapshot.find("a/07.jpg")
        assert image is not None
        assert image._replace(row=-1) == RECORDS[PATHS.index("a/07.jpg")]
        assert snapshot.find("a/7.jpg") is None
        assert snapshot.find_alike(image.size, image.mtime_ns) == ["a/07.jpg"]
        assert snapshot.find_alike(image.size, 0) == []


def test_a_sample_has_no_content_twice(filled: VectorStore) -> None:
    copies = [record._replace(path=f"copy/{record.path}") for record in RECORDS]
    filled.upsert(copies, VECTORS)
    with filled.snapshot() as snapshot:
        for size in (1, 10, len(PATHS), 1000):
            rows = snapshot.sample(size)
            assert rows.shape == (min(size, len(PATHS)), DIM)
            assert len(np.unique(rows, axis=0)) == len(rows)
            places = (rows @ VECTORS.T).argmax(axis=1)
            np.testing.assert_allclose(rows, VECTORS[places], atol=ROUNDING)


FILTERS = st.builds(
    IndexFilter,
    path=st.sampled_from([None, "*/0?.jpg", "a", "1*.jpg"]),
    not_path=st.sampled_from([None, "*5.jpg", ["a/*", "*9.jpg"]]),
    after=st.sampled_from([None, "2014-05-01T12:00:00"]),
    before=st.sampled_from([None, "2040-05-01T12:00:00"]),
    min_width=st.sampled_from([0, 500]),
    orientation=st.sampled_from([None, "portrait", "landscape", "square"]),
    camera=st.sampled_from([None, "canon"]),
    not_camera=st.sampled_from([None, "CANON"]),
)
SELECTIONS = st.builds(
    Selection,
    prefix=st.sampled_from(["", "a/", "b/", "c/"]),
    accepted=FILTERS,
    hidden=st.frozensets(st.sampled_from([*PATHS, "absent"]), max_size=4),
)


@given(where=SELECTIONS, k=st.integers(1, 50))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)
def test_where_and_count_and_candidates_are_the_slow_ones(
    filled: VectorStore, where: Selection, k: int
) -> None:
    """The best k of those that pass are among the candidates, whatever the filter leaves out."""
    expected = {record.path for record in RECORDS if passes(record, where)}
    exact = {path: float(row @ SCORE.direction) for path, row in zip(PATHS, VECTORS, strict=True)}
    with filled.snapshot() as snapshot:
        assert snapshot.count(where) == len(expected)
        found = snapshot.candidates(SCORE, k, where)
        assert len(set(found.paths)) == len(found.paths) == len(found.ids) >= min(k, len(expected))
        assert set(found.paths) <= expected
        # Hidden images may be counted.
        assert len(expected) <= found.num_searched <= len(expected) + len(where.hidden)
        best, scores = rank(snapshot, SCORE, k=k, where=where)
    order = sorted(expected, key=lambda path: -exact[path])[:k]
    assert best.paths == order
    np.testing.assert_allclose(scores, [exact[path] for path in order], atol=ROUNDING)


@given(seed=st.integers(0, 2**32), k=st.integers(1, 12), is_centered=st.booleans())
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40
)
def test_candidates_that_are_said_to_be_complete_are(
    filled: VectorStore, seed: int, k: int, *, is_centered: bool
) -> None:
    """Also for a score that no single direction tells: centred, and with parts subtracted."""
    direction, *others = _vectors(3, seed)
    center = (0.5 * VECTORS[:5].mean(axis=0)).astype(np.float32) if is_centered else None
    subtracted = tuple(Subtraction(other, 0.1, 1.0) for other in others)
    score = QueryScore(direction, center, 0.2, subtracted)
    with filled.snapshot() as snapshot:
        found = snapshot.candidates(score, k)
        best, _ = rank(snapshot, score, k=k)
        everything, _ = rank(snapshot, score, k=len(PATHS))
        assert set(best.paths) <= set(found.paths)
        if found.is_complete:
            every = snapshot.candidates(score, 10**6)
            rows = normalize_rows(snapshot.vectors(every.ids)).astype(np.float64)
            exact = dict(zip(every.paths, _slow_scores(rows, score), strict=True))
            assert best.paths == everything.paths[:k]
            assert [exact[path] for path in best.paths] == pytest.approx(
                sorted(exact.values(), reverse=True)[:k], abs=1e-5
            )


def _slow_scores(rows: np.ndarray, score: QueryScore) -> list[float]:
    """Return scores one image and one part at a time."""
    scores = []
    for row in rows:
        seen = row if score.center is None else row - score.center
        seen = seen / np.linalg.norm(seen)
        loss = sum(
            score.spread * part.strength * max(float(seen @ part.direction) / part.spread - 2, 0.0)
            for part in score.subtracted
        )
        scores.append(max(float(seen @ score.direction) - loss, -1.0))
    return scores
