"""The local store beyond the protocol: not indexed, locked, compacted, replaced under a reader."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clipkit.embeddings import normalize_rows
from clipkit.errors import LibraryBusyError, LibraryError, NotIndexedError
from clipkit.search.store.local.store import LOCK_NAME, LocalStore, not_indexed
from clipkit.search.store.local.writer import writer_lock
from clipkit.search.store.records import CatalogMeta, ImageRow

META = CatalogMeta("", "space", 4, "starter", "", "", "", "vectors-1.f16")
NUM = 40
VECTORS = normalize_rows(np.random.default_rng(0).normal(size=(NUM, 4)))
RECORDS = [ImageRow(f"{n:02}.jpg", 1, 1, -1, digest=bytes([n]) * 16) for n in range(NUM)]


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    store = LocalStore(tmp_path / "index", Path("my photos"))
    store.create(META)
    store.upsert(RECORDS, VECTORS)
    return store


def test_a_folder_that_is_not_indexed_says_how_to_index_it(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "index", Path("my photos"), Path("my photos/2024"))
    assert (store.meta(), store.count(), store.count_missing()) == (None, 0, 0)
    expected = (
        "^my photos/2024 has not been indexed: run  clipkit index 'my photos/2024'"
        r"  \(in Python: library.sync\(\)\)$"
    )
    with pytest.raises(NotIndexedError, match=expected), store.snapshot():
        pass
    with pytest.raises(NotIndexedError, match=expected):
        store.upsert(RECORDS, VECTORS)
    with pytest.raises(NotIndexedError, match=expected):
        store.remove(["00.jpg"])
    assert not (tmp_path / "index").exists()
    error = not_indexed(Path("photos"), "mine", ["starter"])
    assert "has not been indexed with mine, only with starter" in str(error)


def test_creating_an_index_again_keeps_its_images(store: LocalStore) -> None:
    meta = store.meta()
    assert meta is not None
    store.create(meta)
    assert (store.meta(), store.count()) == (meta, NUM)


def test_only_one_may_write(store: LocalStore, tmp_path: Path) -> None:
    with writer_lock(tmp_path / "index" / LOCK_NAME, Path("my photos")):
        acts: list[Callable[[], None]] = [
            lambda: store.upsert(RECORDS[:1], VECTORS[:1]),
            lambda: store.remove(["00.jpg"]),
            lambda: store.create(META),
        ]
        for act in acts:
            with pytest.raises(LibraryBusyError, match="another process is indexing my photos"):
                act()
        assert store.count() == NUM  # and all may read


def test_compacting_numbers_images_anew_and_a_snapshot_keeps_its_numbers(
    store: LocalStore, tmp_path: Path
) -> None:
    with store.snapshot() as before:
        image = before.find("39.jpg")
        assert image is not None
        assert image.row == 39
        new = normalize_rows(VECTORS[::-1])
        store.upsert(RECORDS, new)  # half of the rows are dead then
        assert not (tmp_path / "index" / "vectors-1.f16").exists()
        np.testing.assert_allclose(before.vectors([39])[0], VECTORS[39], atol=1e-3)
    with store.snapshot() as after:
        image = after.find("39.jpg")
        assert image is not None
        np.testing.assert_allclose(after.vectors([image.row])[0], new[39], atol=1e-3)


def test_a_missing_vectors_file_is_damage(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "index" / "vectors-1.f16").unlink()
    with (
        pytest.raises(LibraryError, match=r"damaged \(.*vectors-1.f16 is missing\)"),
        store.snapshot(),
    ):
        pass


def test_a_snapshot_reads_the_background_words(store: LocalStore, tmp_path: Path) -> None:
    row = np.array([0.5, 0.5, -0.5, 0.5], dtype="<f4")
    with sqlite3.connect(tmp_path / "index" / "catalog.sqlite") as connection:
        connection.execute("INSERT INTO background VALUES ('cat', ?)", (row.tobytes(),))
    with store.snapshot() as snapshot:
        assert {name: each.tolist() for name, each in snapshot.background().items()} == {
            "cat": row.tolist()
        }
