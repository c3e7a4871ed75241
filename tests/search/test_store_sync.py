"""A folder's index sent to a store of its own, and searched there: in a file of Milvus Lite."""

import dataclasses
import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipkit.errors import InputError, LibraryError, NotIndexedError, SpaceMismatchError
from clipkit.progress import Callbacks
from clipkit.search.library import PhotoLibrary
from clipkit.search.search import SearchHit
from clipkit.search.store.milvus.store import MilvusStore
from clipkit.search.store_sync import exact_neighbours
from tests.fakes import FakeEncoder, age_files, save_image

pytest.importorskip("milvus_lite", reason="the extra milvus-lite is not installed")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"milvus://{tmp_path}/milvus.db/photos"


@pytest.fixture
def opened(photos: Path, encoder: FakeEncoder, url: str) -> Iterator[PhotoLibrary]:
    """The library of the folder with a store, neither indexed nor sent."""
    library = PhotoLibrary.open(photos, encoder, store=url)
    yield library
    _close(library)


def _close(library: PhotoLibrary) -> None:
    assert library._remote is not None
    library._remote.store.close()


def _report(library: PhotoLibrary, **options: Any) -> tuple[int, int, int]:
    stored = library.sync(**options).stored
    assert stored is not None
    return stored.sent, stored.removed, stored.unchanged


def test_the_store_is_brought_in_step_with_the_folder(opened: PhotoLibrary, photos: Path) -> None:
    assert _report(opened) == (4, 0, 0)
    assert len(opened) == 4
    assert _report(opened) == (0, 0, 4)
    save_image(photos / "new.png", (1, 2, 3))
    save_image(photos / "red.png", (250, 0, 1))
    (photos / "trip" / "blue.png").unlink()
    (photos / "orange.png").rename(photos / "trip" / "amber.png")
    assert _report(opened) == (3, 2, 1)  # new, changed and moved; gone and moved away
    assert len(opened) == 4


def test_a_search_says_the_same_of_the_store_as_of_the_index(
    opened: PhotoLibrary, photos: Path, encoder: FakeEncoder
) -> None:
    opened.sync()
    local = PhotoLibrary.open(photos, encoder)
    for query, options in (
        ("red", {}),
        ("green", {"path": "trip"}),
        ("red", {"not_path": "red.png", "min_width": 1}),
        ("blue", {"diversity": 0.5, "k": 2}),
        ("blue", {"after": "1990", "before": "2090", "sort": "name"}),
        (photos / "red.png", {}),
        (None, {"more_like": [photos / "red.png"], "less_like": [photos / "trip" / "green.png"]}),
    ):
        here, there = local.search(query, **options), opened.search(query, **options)
        assert _rounded(there) == _rounded(here)
        assert (there.verdict, there.num_found, there.num_searched) == (
            here.verdict,
            here.num_found,
            here.num_searched,
        )


def _rounded(hits: list[SearchHit]) -> list[SearchHit]:
    """Return hits whose numbers differ by no more than the store's rounding."""
    return [
        dataclasses.replace(
            hit, similarity=round(hit.similarity, 3), relevance=round(hit.relevance, 3)
        )
        for hit in hits
    ]


def test_no_folder_is_needed_to_search(
    opened: PhotoLibrary, photos: Path, encoder: FakeEncoder, url: str
) -> None:
    opened.sync()
    _close(opened)
    library = PhotoLibrary.open(encoder=encoder, store=url)
    assert library.folder == photos
    assert (len(library), library.model, library.is_indexed) == (4, encoder.name, True)
    (hit,) = library.search("green", k=1)
    assert hit.path == photos / "trip" / "green.png"
    _close(library)


def test_images_of_the_query_are_looked_up_in_the_store(
    opened: PhotoLibrary, photos: Path, url: str
) -> None:
    opened.sync()
    _close(opened)
    library = PhotoLibrary.open(store=url)  # without an encoder: nothing can be embedded
    hits = library.search(photos / "trip" / "green.png")
    assert photos / "trip" / "green.png" not in [hit.path for hit in hits]
    assert len(hits) == 3
    _close(library)


def test_what_an_interrupted_run_has_sent_is_not_sent_again(
    opened: PhotoLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MilvusStore, "rows_a_request", staticmethod(lambda _: 1))

    def stop_after_two(done: int, total: int | None) -> None:
        if (done, total) == (2, 4):
            raise KeyboardInterrupt

    local = PhotoLibrary.open(opened.folder, opened._encoder)
    local.sync()
    with pytest.raises(KeyboardInterrupt):
        opened.send(callbacks=Callbacks(progress_for=lambda _: nullcontext(stop_after_two)))
    assert len(opened) == 2
    assert opened.search("red", k=4).num_searched == 2
    assert opened.send().to_dict() == {
        "url": str(opened._remote.store.address),  # type: ignore[union-attr]
        "sent": 2,
        "removed": 0,
        "unchanged": 2,
        "index": "flat",
        "recall_at_50": None,
    }


def test_images_on_a_disk_that_is_away_stay_in_the_store(
    opened: PhotoLibrary, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.sync()
    scan = os.scandir

    def failing(path: str) -> object:
        if str(path).endswith("trip"):
            raise OSError(5, "Input/output error")
        return scan(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", failing)
        report = opened.sync()
    assert report.missing == 2
    assert report.stored is not None
    assert (report.stored.removed, report.stored.unchanged) == (0, 2)
    assert len(opened) == 4
    assert _report(opened) == (0, 0, 4)


@pytest.mark.parametrize("act", ["search", "sync", "send", "check_store"])
def test_another_model_is_refused_with_what_to_run(
    opened: PhotoLibrary, photos: Path, url: str, act: str
) -> None:
    opened.sync()
    _close(opened)
    other = FakeEncoder(space_id="another space", name="other")
    if act == "send":
        PhotoLibrary.open(photos, other).sync()
    library = PhotoLibrary.open(photos, other, store=url)
    with pytest.raises(SpaceMismatchError, match=r"give --model fake.*--model other --rebuild"):
        getattr(library, act)(*["red"] * (act == "search"))
    library.remove_from_store()
    assert _report(library) == (4, 0, 0)
    _close(library)


def test_without_a_store_or_a_collection_it_says_what_to_do(
    photos: Path, encoder: FakeEncoder, url: str
) -> None:
    with pytest.raises(InputError, match="got None; to search a store without one, give store=URL"):
        PhotoLibrary.open(encoder=encoder)
    with pytest.raises(InputError, match='store="milvus://'):
        PhotoLibrary.open(photos, encoder).send()
    with pytest.raises(NotIndexedError, match=f"clipkit index FOLDER --store {url}"):
        PhotoLibrary.open(encoder=encoder, store=url)
    with pytest.raises(InputError, match="flat, ivf, hnsw or diskann"):
        PhotoLibrary.open(photos, encoder, store=url).send(index="tree")  # type: ignore[arg-type]


def test_a_search_of_a_store_that_was_not_sent_to_says_so(opened: PhotoLibrary, url: str) -> None:
    with pytest.raises(NotIndexedError, match=f"clipkit index FOLDER --store {url}"):
        opened.search("red")


def test_a_server_that_does_not_answer_is_an_error_before_anything_is_indexed(
    photos: Path, encoder: FakeEncoder
) -> None:
    pytest.importorskip("pymilvus")
    library = PhotoLibrary.open(photos, encoder, store="milvus://127.0.0.1:9/photos")
    with pytest.raises(LibraryError, match=r"no Milvus server answers at milvus://127\.0\.0\.1:9"):
        library.sync()
    assert not PhotoLibrary.open(photos, encoder).is_indexed


def test_recall_of_texts_is_measured_where_an_index_is_built(opened: PhotoLibrary) -> None:
    opened.sync()
    stored = opened.send(index="hnsw")
    assert (stored.index, stored.recall) == ("hnsw", 1.0)  # of four images
    assert stored.to_dict()["recall_at_50"] == 1.0
    again = opened.send()
    assert (again.index, again.recall) == ("hnsw", None)  # it is remembered, and not built again


def test_exact_neighbours_are_those_of_the_slow_way(
    photos: Path, encoder: FakeEncoder, library: PhotoLibrary
) -> None:
    for number in range(40):
        save_image(photos / f"{number}.png", (number * 6, 255 - number * 6, number * 3 % 255))
    age_files(photos)
    library.sync()
    (photos / "3.png").unlink()
    library.sync()
    every = library.embeddings()
    queries = encoder.encode_texts(["red", "green", "blue"])
    scores = np.asarray(queries) @ np.asarray(every.embeddings).T
    with library._place.store.snapshot() as snapshot:
        found = exact_neighbours(snapshot, queries, 5)
        for names, row in zip(found, scores, strict=True):
            worst = min(
                row[[str(photos / name) == str(path) for path in every.paths]][0] for name in names
            )
            assert len(names) == 5
            assert (row > worst + 1e-3).sum() < 5


def test_an_index_with_crops_is_not_sent(opened: PhotoLibrary, photos: Path) -> None:
    refused = pytest.raises(
        InputError, match=r"a store has one embedding an image, and the index 5"
    )
    with refused:
        opened.sync(crops=5)
    assert not PhotoLibrary.open(photos).is_indexed  # told before hours of indexing
    PhotoLibrary.open(photos, FakeEncoder()).sync(crops=5)
    for refuse in (opened.sync, opened.send):
        with refused:
            refuse()
    opened.sync(crops=1)
    assert len(opened) == 4
