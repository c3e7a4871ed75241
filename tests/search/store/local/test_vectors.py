"""The vectors file: appended, mapped, scored, copied."""

from pathlib import Path

import numpy as np
import pytest

from clipkit.errors import LibraryError
from clipkit.search.store.local import vectors
from clipkit.search.store.local.vectors import (
    VectorReader,
    VectorWriter,
    copy_rows,
    next_vectors_name,
)

ROWS = np.array([[1, 0], [0, 1], [0.6, 0.8], [-1, 0]], dtype=np.float32)
FOLDER = Path("photos")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with VectorWriter(tmp_path / "vectors-1.f16", 2, 0) as writer:
        assert writer.append(ROWS[:1]) == range(0, 1)
        assert writer.append(ROWS[1:]) == range(1, 4)
        assert writer.append(ROWS[:0]) == range(4, 4)
    return tmp_path / "vectors-1.f16"


def test_the_file_is_the_rows_and_nothing_else(path: Path) -> None:
    assert path.read_bytes() == ROWS.astype("<f2").tobytes()


def test_similarities_are_the_cosines_of_all_rows(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "_BLOCK_BYTES", 24)  # three rows a block
    query = np.array([0.6, 0.8], dtype=np.float32)
    found = VectorReader(path, 2, 4, FOLDER).similarities(query[None, :])
    np.testing.assert_allclose(found, [[0.6, 0.8, 1.0, -0.6]], atol=vectors.SCAN_ERROR)


def test_a_writer_writes_over_what_the_catalog_does_not_know(path: Path) -> None:
    with VectorWriter(path, 2, 2) as writer:
        assert writer.append(ROWS[3:]) == range(2, 3)
    rows = VectorReader(path, 2, 3, FOLDER).take(np.arange(3))
    assert rows.tolist() == ROWS[[0, 1, 3]].astype(np.float16).tolist()


def test_a_reader_sees_no_row_written_after_it_was_opened(path: Path) -> None:
    reader = VectorReader(path, 2, 4, FOLDER)
    with VectorWriter(path, 2, 4) as writer:
        writer.append(ROWS[:1])
    assert reader.similarities(ROWS[:1]).shape == (1, 4)


def test_copy_rows_keeps_the_order_given(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "_BLOCK_BYTES", 8)  # one row a block
    destination = path.with_name("vectors-2.f16")
    destination.write_bytes(b"left over from a process that was killed")
    copy_rows(VectorReader(path, 2, 4, FOLDER), np.array([0, 2]), destination, 2)
    assert destination.read_bytes() == ROWS[[0, 2]].astype("<f2").tobytes()


def test_a_short_file_is_damage_and_says_so(path: Path) -> None:
    with pytest.raises(
        LibraryError, match=r"vectors-1.f16 has 16 bytes instead of 20\): run  clipkit index --reb"
    ):
        VectorReader(path, 2, 5, FOLDER)


def test_no_rows_need_no_file(tmp_path: Path) -> None:
    reader = VectorReader(tmp_path / "absent.f16", 2, 0, FOLDER)
    assert reader.similarities(ROWS[:2]).shape == (2, 0)


def test_names_count_up() -> None:
    assert next_vectors_name(vectors.vectors_name(9)) == "vectors-10.f16"


@pytest.mark.parametrize("block_bytes", [8, 24, 1 << 20])
def test_a_scan_of_chosen_rows_is_the_cosines_of_those(
    path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    monkeypatch.setattr(vectors, "_BLOCK_BYTES", block_bytes)
    query = np.array([[0.6, 0.8]], dtype=np.float32)
    reader = VectorReader(path, 2, 4, FOLDER)
    blocks = list(reader.scan(query, np.array([0, 3])))
    assert np.concatenate([rows for rows, _ in blocks]).tolist() == [0, 3]
    found = np.concatenate([products for _, products in blocks], axis=1)
    np.testing.assert_allclose(found, [[0.6, -0.6]], atol=vectors.SCAN_ERROR)
    assert list(reader.scan(query, np.array([], np.int64))) == []
