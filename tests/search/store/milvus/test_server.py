"""The store on a real Milvus server: filters, indexes, and a server that is killed."""

import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clipkit.embeddings import Embeddings, normalize_rows
from clipkit.errors import LibraryError
from clipkit.progress import Callbacks
from clipkit.search.filters import IndexFilter, Selection
from clipkit.search.library import PhotoLibrary
from clipkit.search.ranking import QueryScore, rank
from clipkit.search.store.milvus.address import read_address
from clipkit.search.store.milvus.ann_index import AnnIndex, IndexKind
from clipkit.search.store.milvus.connection import MilvusConnection
from clipkit.search.store.milvus.store import MilvusStore
from clipkit.search.store.records import CatalogMeta, ImageRow
from tests.fakes import FakeEncoder, age_files, save_image
from tests.search.store.conftest import StartMilvus
from tests.search.store.milvus_server import MilvusServer

pytest.importorskip("pymilvus", reason="the extra milvus is not installed")
pytestmark = pytest.mark.slow

DIM, COUNT = 16, 20_000
META = CatalogMeta("/photos", "space", DIM, "starter", "onnx", "fp32", "0.2", "")
SCORE = QueryScore(normalize_rows(np.random.default_rng(7).normal(size=(1, DIM)))[0])
# One in a hundred by a folder, a width or a camera, which the server is asked for, and by the end
# of a name, which it is not.
HUNDREDTHS = [
    Selection("d07/"),
    Selection(accepted=IndexFilter(min_width=1099)),
    Selection(accepted=IndexFilter(camera="leica")),
    Selection(accepted=IndexFilter(path="*07.jpg")),
    Selection(accepted=IndexFilter(path="d*/*07.jpg", camera="Canon"), hidden=frozenset({"a"})),
]


@pytest.fixture(scope="module")
def vectors() -> Embeddings:
    """Rows around fifty centres: those of images lie in clusters too."""
    draws = np.random.default_rng(0)
    centres = draws.normal(size=(50, DIM))
    return normalize_rows(centres[np.arange(COUNT) % 50] + 0.5 * draws.normal(size=(COUNT, DIM)))


RECORDS = [
    ImageRow(
        f"d{number % 100:02}/{number // 100:03}07.jpg"
        if number // 100 % 100 == 7
        else f"d{number % 100:02}/{number:05}x.jpg",
        number,
        10**18,
        -1,
        digest=number.to_bytes(16, "big"),
        width=1000 + number // 100 % 100,
        height=800,
        camera="Leica M6" if number // 100 % 100 == 50 else "Canon EOS",
    )
    for number in range(COUNT)
]


@pytest.fixture(scope="module")
def store(milvus_server: MilvusServer, vectors: Embeddings) -> Iterator[MilvusStore]:
    """Twenty thousand images on the server."""
    made = MilvusStore(MilvusConnection(read_address(milvus_server.url("many"), {})))
    made.create(META)
    made.upsert(RECORDS, vectors)
    yield made
    made.drop()
    made.close()


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_a_filter_that_keeps_one_percent_finds_the_best_of_it(
    store: MilvusStore, vectors: Embeddings, kind: IndexKind
) -> None:
    if store.index().kind != kind:
        store.build_index(AnnIndex.suited(COUNT, kind))
    scores = vectors @ SCORE.direction
    (found,) = store.nearest_paths(SCORE.direction[None], 50, store.index().harder().harder())
    exact = {RECORDS[place].path for place in np.argsort(-scores)[:50]}
    assert len(exact & set(found)) >= (50 if kind == "flat" else 45)
    for where in HUNDREDTHS:
        passing = [place for place, record in enumerate(RECORDS) if _passes(record, where)]
        assert len(passing) == COUNT // 100
        best = sorted(passing, key=lambda place: -float(scores[place]))[:20]
        with store.snapshot() as snapshot:
            ranked, _ = rank(snapshot, SCORE, k=20, where=where)
        assert ranked.num_searched == len(passing)
        assert ranked.paths == [RECORDS[place].path for place in best]


def _passes(record: ImageRow, where: Selection) -> bool:
    """Return whether a record passes one of HUNDREDTHS, by the plainest means."""
    accepted = where.accepted
    return (
        record.path.startswith(where.prefix)
        and (record.width or 0) >= accepted.min_width
        and (accepted.path is None or record.path.endswith("07.jpg"))
        and (accepted.camera or "").lower() in (record.camera or "").lower()
    )


def test_what_is_known_of_the_whole_is_seen_at_once(store: MilvusStore) -> None:
    store.write_background(["a cat", "a dog"], np.eye(2, DIM, dtype=np.float32))
    for folder in ("/moved", META.folder):
        store.create(replace(META, folder=folder))
        assert store.meta() == replace(META, folder=folder)
    with store.snapshot() as snapshot:
        assert set(snapshot.background()) == {"a cat", "a dog"}
        assert snapshot.find(RECORDS[5].path) == RECORDS[5]._replace(
            row=snapshot.find(RECORDS[5].path).row  # type: ignore[union-attr]
        )


def test_a_server_without_the_index_that_is_asked_for_gets_a_flat_one(
    store: MilvusStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This one has no disk for DiskANN: it never says so, it only never builds it."""
    monkeypatch.setattr("clipkit.search.store.milvus.store._STALLED", 2)
    with pytest.raises(LibraryError, match=r"does not build .*DISKANN.*--store-index flat"):
        store.build_index(AnnIndex.suited(COUNT, "diskann"))
    assert store.index().kind == "flat"
    assert store.count() == COUNT


def test_a_server_killed_in_the_middle_of_sending_loses_nothing(
    tmp_path: Path, start_milvus: StartMilvus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is started again while the sync waits for it; every image is there once."""
    monkeypatch.setattr(MilvusStore, "rows_a_request", staticmethod(lambda _: 1))
    photos = tmp_path / "photos"
    for number in range(12):
        save_image(photos / f"{number}.png", (number * 20, 255 - number * 20, 50))
    age_files(photos)
    server = start_milvus()
    starting: list[threading.Thread] = []

    def kill_at_five(done: int, _: int | None) -> None:
        if done == 5 and not starting:
            server.kill()
            starting.append(threading.Thread(target=server.start))
            starting[0].start()

    encoder = FakeEncoder()
    PhotoLibrary.open(photos, encoder).sync()
    library = PhotoLibrary.open(photos, encoder, store=server.url("photos"))
    told: list[str] = []
    assert library._remote is not None
    library._remote.store.connection.on_retry = told.append
    stored = library.send(callbacks=Callbacks(progress_for=lambda _: nullcontext(kill_at_five)))
    starting[0].join()
    assert (stored.sent, stored.unchanged) == (12, 0)
    hits = library.search("red", k=20)
    local = PhotoLibrary.open(photos, encoder).search("red", k=20)
    assert [hit.path for hit in hits] == [hit.path for hit in local]
    assert told  # it had to wait
    again = library.send()
    assert (again.sent, again.removed, again.unchanged) == (0, 0, 12)
    library._remote.store.close()
    server.stop()
