import io
import tarfile
from pathlib import Path

import pytest

from clipkit.data.shard_files import Skipped, list_members


def _tar(sizes: list[int]) -> bytearray:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for number, size in enumerate(sizes):
            info = tarfile.TarInfo(f"{number}.jpg")
            info.size = size
            tar.addfile(info, io.BytesIO(b"x" * size))
    return bytearray(file.getvalue())


def _list(content: bytearray) -> tuple[list[tuple[str, int, int]], list[Skipped]]:
    skipped: list[Skipped] = []
    members = list_members(io.BytesIO(content), Path("shards/a.tar"), skipped)
    return [(member.name, member.offset, member.size) for member in members], skipped


def test_files_lie_behind_their_headers_of_512_bytes() -> None:
    members, skipped = _list(_tar([3, 600, 0]))
    assert members == [("0.jpg", 512, 3), ("1.jpg", 1536, 600), ("2.jpg", 3072, 0)]
    assert skipped == []


@pytest.mark.parametrize("size", [-1, -1536, -(1 << 62)])
def test_a_size_below_zero_does_not_lead_back(size: int) -> None:
    content = _tar([3, 600])
    field = b"\xff" + size.to_bytes(11, "big", signed=True)
    content[1024 + 124 : 1024 + 136] = field
    header = content[1024:1536]
    total = sum(header[:148]) + 8 * ord(" ") + sum(header[156:])
    content[1024 + 148 : 1024 + 156] = f"{total:06o}\0 ".encode()
    members, skipped = _list(content)
    assert members == [("0.jpg", 512, 3)]
    assert skipped == [("", "is damaged or cut off after 1 files: a header is damaged")]


def test_files_with_holes_are_told_of() -> None:
    content = _tar([3, 4])
    content[156:157] = tarfile.GNUTYPE_SPARSE
    header = content[:512]
    total = sum(header[:148]) + 8 * ord(" ") + sum(header[156:])
    content[148:156] = f"{total:06o}\0 ".encode()
    members, skipped = _list(content)
    assert [name for name, *_ in members] == ["1.jpg"]
    assert skipped == [("0.jpg", "is stored sparse")]
