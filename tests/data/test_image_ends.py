"""First and last bytes of files."""

import io
from pathlib import Path

import pytest

from clipkit.data.image_ends import NO_HASH, NO_SIZE, file_hashes, file_sizes, read_ends


@pytest.mark.parametrize("size", [1, 511, 513, 2047, 2049, 10_000])
def test_ends_are_the_first_2048_bytes_and_the_last_512(size: int) -> None:
    content = bytes(number * number % 251 for number in range(size))
    ends = read_ends(io.BytesIO(b"before" + content + b"behind"), 6, size)
    assert (ends.head, ends.tail, ends.size) == (content[:2048], content[-512:], size)


def test_hashes_differ_by_size_and_by_either_end() -> None:
    middle = bytes(3000)
    contents = [
        middle,
        b"1" + middle[1:],
        middle[:-1] + b"1",
        middle + b"\0",
        middle[:2100] + b"1" + middle[2101:],  # equal ends
        bytes(3000),
    ]
    hashes = [read_ends(io.BytesIO(each), 0, len(each)).hash for each in contents]
    assert [hashes.index(each) for each in hashes] == [0, 1, 2, 3, 0, 0]


def test_files_that_cannot_be_read_have_neither(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "folder").mkdir()
    paths = [tmp_path / "a", tmp_path / "gone", tmp_path / "folder", tmp_path / "nul\0"]
    assert file_sizes(paths)[[0, 1, 3]].tolist() == [3, NO_SIZE, NO_SIZE]
    expected = read_ends(io.BytesIO(b"abc"), 0, 3).hash
    assert file_hashes(paths).tolist() == [expected, NO_HASH, NO_HASH, NO_HASH]
