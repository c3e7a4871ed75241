"""What a collection tells of the whole, words, refusals and indexes; in a file of Milvus Lite."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipkit.embeddings import Embeddings, normalize_rows
from clipkit.errors import InputError, LibraryError, NotIndexedError, SpaceMismatchError
from clipkit.search.filters import IndexFilter, Selection
from clipkit.search.ranking import QueryScore
from clipkit.search.store.milvus.address import read_address
from clipkit.search.store.milvus.ann_index import AnnIndex, IndexKind
from clipkit.search.store.milvus.connection import MilvusConnection
from clipkit.search.store.milvus.snapshot import MilvusSnapshot
from clipkit.search.store.milvus.store import MilvusStore
from clipkit.search.store.records import CatalogMeta, ImageRow

pytest.importorskip("milvus_lite", reason="the extra milvus-lite is not installed")

DIM = 8
META = CatalogMeta("/photos", "space", DIM, "starter", "onnx", "fp32", "0.2", "", "pillow")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"milvus://{tmp_path}/milvus.db/photos"


@pytest.fixture
def store(url: str) -> Iterator[MilvusStore]:
    made = MilvusStore(MilvusConnection(read_address(url, {})))
    yield made
    made.close()


def _vectors(count: int, seed: int = 0) -> Embeddings:
    return normalize_rows(np.random.default_rng(seed).normal(size=(count, DIM)))


def _records(count: int) -> list[ImageRow]:
    return [
        ImageRow(
            f"{number // 100}/{number}.jpg",
            number,
            10**18,
            -1,
            digest=np.random.default_rng(number).bytes(16),
            camera="Leica M6" if number % 100 == 7 else "Canon",
        )
        for number in range(count)
    ]


def test_without_a_collection_it_says_how_to_make_one(store: MilvusStore, url: str) -> None:
    assert store.meta() is None
    assert store.count() == 0
    with (
        pytest.raises(NotIndexedError, match=f"clipkit index FOLDER --store {url}"),
        store.snapshot(),
    ):
        pass
    store.drop()  # nothing to delete


def test_the_collection_tells_of_the_whole(store: MilvusStore) -> None:
    store.create(META)
    assert store.meta() == META
    later = replace(META, clipkit_version="0.3", folder="/moved")
    store.create(later)
    assert store.meta() == later
    with store.snapshot() as snapshot:
        assert (snapshot.meta, snapshot.embed_dim, snapshot.space_id) == (later, DIM, "space")


def test_another_space_is_refused_with_what_to_run(store: MilvusStore) -> None:
    store.create(META)
    with pytest.raises(SpaceMismatchError, match=r"--model starter.*--model other --rebuild"):
        store.create(replace(META, space_id="else", model="other", embed_dim=16))
    assert store.meta() == META


def test_a_collection_of_somebody_else_is_neither_read_nor_deleted(store: MilvusStore) -> None:
    client = store.connection.client()
    client.create_collection("photos", dimension=DIM)
    for use in (store.meta, store.drop, lambda: store.create(META)):
        with pytest.raises(LibraryError, match="was not made by clipkit"):
            use()
    assert client.has_collection("photos")


def test_nor_is_one_that_has_the_name_of_the_words(store: MilvusStore) -> None:
    client = store.connection.client()
    client.create_collection("photos_background", dimension=DIM)
    with pytest.raises(LibraryError, match="photos_background was not made by clipkit"):
        store.create(META)
    assert client.list_collections() == ["photos_background"]


def test_words_of_an_interrupted_run_of_another_model_are_made_anew(store: MilvusStore) -> None:
    store.create(replace(META, embed_dim=2 * DIM))
    store.connection.client().drop_collection("photos")
    store.create(META)
    store.write_background(["a cat"], _vectors(1))
    with store.snapshot() as snapshot:
        assert set(snapshot.background()) == {"a cat"}


def test_words_are_replaced_as_a_whole(store: MilvusStore) -> None:
    store.create(META)
    for seed, names in enumerate((["a cat", "a dog"], ['a "cat"', "a dog", "rain"])):
        rows = _vectors(len(names), seed)
        store.write_background(names, rows)
        with store.snapshot() as snapshot:
            found = snapshot.background()
            assert set(found) == set(names)
            np.testing.assert_allclose([found[name] for name in names], rows, atol=1e-6)
            assert snapshot.count() == 0  # they are no images


def test_drop_deletes_images_and_words(store: MilvusStore) -> None:
    store.create(META)
    store.write_background(["a cat"], _vectors(1))
    store.drop()
    assert store.meta() is None
    assert store.connection.client().list_collections() == []


def test_what_is_sent_in_several_requests_is_all_there(
    store: MilvusStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MilvusStore, "rows_a_request", staticmethod(lambda _: 7))
    store.create(META)
    store.upsert(_records(30), _vectors(30))
    assert store.count() == 30
    store.remove([record.path for record in _records(20)])
    assert store.count() == 10


def test_a_request_is_far_below_what_servers_take() -> None:
    assert MilvusStore.rows_a_request(512) == 16 * 2**20 // (2048 + 512)
    assert MilvusStore.rows_a_request(10**9) == 1


@pytest.mark.parametrize("kind", ["ivf", "hnsw", "flat"])
def test_an_index_is_built_and_found_again(store: MilvusStore, url: str, kind: IndexKind) -> None:
    store.create(META)
    vectors = _vectors(500)
    store.upsert(_records(500), vectors)
    told: list[tuple[int, int | None]] = []
    index = AnnIndex.suited(500, kind, is_file=True)
    store.build_index(index, lambda done, total: told.append((done, total)))
    store.set_effort(index.harder())
    store.close()
    again = MilvusStore(MilvusConnection(read_address(url, {})))
    assert again.index() == index.harder()
    (found,) = again.nearest_paths(vectors[:1], 1, index)
    assert found == ["0/0.jpg"]
    again.close()
    assert told


def test_a_requested_kind_is_remembered(store: MilvusStore) -> None:
    store.create(META)
    assert store.requested_kind() is None
    store.request_kind("hnsw")
    store.create(replace(META, folder="/moved"))
    assert store.requested_kind() == "hnsw"


@pytest.mark.parametrize("kind", ["flat", "ivf"])
@pytest.mark.parametrize(
    ("accepted", "keeps"),
    [
        (IndexFilter(path="*07.jpg"), lambda number: number % 100 == 7 != number),  # by name
        (IndexFilter(not_path="*3?.jpg"), lambda number: number % 100 // 10 != 3),  # or enough
        (
            IndexFilter(camera="leica", not_path="*1907.jpg"),
            lambda number: number % 100 == 7 and number != 1907,
        ),
    ],
)
def test_a_filter_that_no_expression_says_still_finds_the_best(
    store: MilvusStore,
    monkeypatch: pytest.MonkeyPatch,
    kind: IndexKind,
    accepted: IndexFilter,
    keeps: Callable[[int], bool],
) -> None:
    """More images than are asked for by name at once, or are in an answer."""
    monkeypatch.setattr("clipkit.search.store.milvus.snapshot._PATHS_A_QUESTION", 4)
    monkeypatch.setattr("clipkit.search.store.milvus.snapshot.MOST_ROWS", 600)
    monkeypatch.setattr("clipkit.search.store.milvus.snapshot._SLICE", 5000)
    store.create(META)
    records, vectors = _records(2000), _vectors(2000)
    store.upsert(records, vectors)
    if kind == "ivf":
        store.build_index(AnnIndex.suited(2000, kind, is_file=True).harder().harder())
    score = QueryScore(_vectors(1, seed=9)[0])
    where = Selection(accepted=accepted)
    passing = list(filter(keeps, range(2000)))
    best = sorted(passing, key=lambda place: -float(vectors[place] @ score.direction))
    with store.snapshot() as snapshot:
        assert snapshot.count(where) == len(passing)
        for k in (1, 5, 100):
            found = snapshot.candidates(score, k, where)
            assert {records[place].path for place in best[:k]} <= set(found.paths)
            assert set(found.paths) <= {records[place].path for place in passing}
            assert found.num_searched == len(passing)


def test_where_an_index_finds_too_few_everything_is_looked_at(store: MilvusStore) -> None:
    """One cluster of 128 holds some fifteen of two thousand images."""
    store.create(META)
    records, vectors = _records(2000), _vectors(2000)
    store.upsert(records, vectors)
    store.build_index(AnnIndex("ivf", num_clusters=128, effort=1))
    score = QueryScore(_vectors(1, seed=9)[0])
    best = np.argsort(-(vectors @ score.direction))[:300]
    with store.snapshot() as snapshot:
        found = snapshot.candidates(score, 300)
    assert {records[place].path for place in best} <= set(found.paths)
    assert not found.is_complete


def test_a_sample_is_of_the_smallest_digests(store: MilvusStore) -> None:
    store.create(META)
    records, vectors = _records(3000), _vectors(3000)
    store.upsert(records, vectors)
    order = sorted(range(3000), key=lambda place: records[place].digest or b"")
    with store.snapshot() as snapshot:
        np.testing.assert_allclose(snapshot.sample(100), vectors[order[:100]], atol=1e-6)


def test_cameras_are_asked_for_by_name_unless_there_are_too_many(
    store: MilvusStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("store", "schema"):
        monkeypatch.setattr(f"clipkit.search.store.milvus.{module}.MOST_CAMERAS", 3)
    store.create(META)
    where = Selection(accepted=IndexFilter(camera="m 1"))
    asked: list[str] = []
    listed = MilvusSnapshot.list_fields

    def remember(self: MilvusSnapshot, *arguments: Any) -> Iterator[dict[str, Any]]:
        asked.append("everything")
        return listed(self, *arguments)

    monkeypatch.setattr(MilvusSnapshot, "list_fields", remember)
    for number, name in enumerate(["Cam 1", "Cam 2", None, "Cam 10", "Cam 4", "Cam 12"]):
        record = _records(1)[0]._replace(path=f"{number}.jpg", camera=name)
        store.upsert([record], _vectors(1))
        with store.snapshot() as snapshot:
            expected = {"Cam 1": 1, "Cam 2": 1, None: 1, "Cam 10": 2, "Cam 4": 2, "Cam 12": 3}
            assert snapshot.count(where) == expected[name]
    assert asked == ["everything"] * 2  # with the fourth and the fifth camera


def test_shapes_are_checked_before_anything_is_sent(store: MilvusStore) -> None:
    store.create(META)
    with pytest.raises(InputError, match=r"shape \(2, 8\), got \(2, 9\)"):
        store.upsert(_records(2), np.ones((2, 9), np.float32))
    assert store.count() == 0


@pytest.mark.parametrize("is_folder_there", [True, False])
def test_a_file_that_cannot_be_opened_is_one_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], *, is_folder_there: bool
) -> None:
    if is_folder_there:
        (tmp_path / "photos.db").write_text("no store")
    path = "photos.db" if is_folder_there else "no/photos.db"
    store = MilvusStore(MilvusConnection(read_address(f"milvus://{tmp_path}/{path}", {})))
    with pytest.raises(LibraryError, match=r"photos.db cannot be opened .*only one process"):
        store.meta()
    assert capfd.readouterr().err == ""
