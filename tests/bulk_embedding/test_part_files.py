"""The files of parts in both layouts, and what damage does to reading them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from clipkit.bulk_embedding.output_folder import OutputFolder
from clipkit.bulk_embedding.part_files import (
    PartRows,
    UnreadImage,
    error_numbers,
    part_numbers,
    read_errors_of,
    read_part,
    write_part,
)
from clipkit.errors import LibraryError

ABOUT: dict[str, Any] = {"embed_dim": 3, "space_id": "s", "container": "0.tar\t7 9"}
VECTORS = np.array([[1, 0.5, -0.25], [0, 0.125, 2]], dtype=np.float16)


def _rows(count: int = 2) -> PartRows:
    return PartRows(
        [f"{number}.png" for number in range(count)],
        list(VECTORS[:count]),
        [bytes([number]) * 16 for number in range(count)],
        [7, None][:count],
        [None, 9][:count],
        [UnreadImage("bad\u2028.png", "is no image", 3, None)],
    )


@pytest.mark.parametrize("layout", ["parquet", "clip-retrieval"])
def test_a_part_is_read_back(tmp_path: Path, layout: Any) -> None:
    folder = OutputFolder(tmp_path)
    write_part(folder, layout, 12, _rows(), ABOUT)
    assert part_numbers(folder.names(), layout) == [12] == error_numbers(folder.names())
    part = read_part(folder, layout, 12)
    assert (part.number, part.container, part.ids) == (12, "0.tar\t7 9", ["0.png", "1.png"])
    assert part.vectors.dtype == np.float16 and np.array_equal(part.vectors, VECTORS)
    assert (part.sizes, part.mtimes) == ([7, None], [None, 9])
    assert part.digests == [b"\0" * 16, b"\1" * 16]
    assert read_part(folder, layout, 12, has_vectors=False).vectors.shape == (0, 3)
    errors = read_errors_of(folder, 12)
    assert errors.container == "0.tar\t7 9" and errors.has_vectors
    assert errors.unread == [UnreadImage("bad\u2028.png", "is no image", 3, None)]


def test_the_layout_of_clip_retrieval(tmp_path: Path) -> None:
    """Names and columns as its OutputSink writes them; equal numbers of digits sort alike."""
    write_part(OutputFolder(tmp_path), "clip-retrieval", 0, _rows(), ABOUT)
    array = np.load(tmp_path / "img_emb" / "img_emb_00000.npy")
    assert array.dtype == np.float16 and np.array_equal(array, VECTORS)
    table = parquet.read_table(tmp_path / "metadata" / "metadata_00000.parquet")
    assert table["image_path"].to_pylist() == ["0.png", "1.png"]


def test_a_part_without_vectors_has_a_file_of_errors_only(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path)
    write_part(folder, "parquet", 3, _rows(0), ABOUT)
    assert folder.names() == {"errors/errors-00003.jsonl"}
    assert not read_errors_of(folder, 3).has_vectors


def test_errors_of_a_try_that_was_killed_go_with_the_next(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path)
    write_part(folder, "parquet", 3, _rows(), ABOUT)
    rows = _rows()
    rows.unread.clear()
    write_part(folder, "parquet", 3, rows, ABOUT)
    assert folder.names() == {"part-00003.parquet"}


def test_damage_says_what_to_do(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path)
    write_part(folder, "parquet", 0, _rows(), ABOUT)
    (tmp_path / "part-00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(LibraryError, match="delete it, and run the same clipkit embed again"):
        read_part(folder, "parquet", 0)
    (tmp_path / "errors" / "errors-00000.jsonl").write_text(json.dumps({"vectors": 1}))
    with pytest.raises(LibraryError, match="is damaged: delete it"):
        read_errors_of(folder, 0)
    with pytest.raises(LibraryError, match="cannot be written or read"):
        read_part(folder, "parquet", 1)
