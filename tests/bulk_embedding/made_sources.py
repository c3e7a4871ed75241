"""Collections that tests make: a folder, shards, tables; and what a folder of embeddings holds."""

import hashlib
import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

COLORS = [(40 * number % 256, 97 * number % 256, 230 - 20 * number) for number in range(10)]


def image_bytes(color: tuple[int, int, int], kind: str = "PNG") -> bytes:
    """Return the file of an image of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(file, kind)
    return file.getvalue()


def make_folder(folder: Path, count: int = 5, *, start: int = 0) -> Path:
    """Write so many images, half of them in a folder inside, and return the folder."""
    for number in range(start, start + count):
        inside = folder / "inside" if number % 2 else folder
        inside.mkdir(parents=True, exist_ok=True)
        (inside / f"{number}.png").write_bytes(image_bytes(COLORS[number]))
    return folder


def make_shard(path: Path, samples: Mapping[str, bytes]) -> Path:
    """Write a tar of these files, by their names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in samples.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def make_parquet(path: Path, columns: Mapping[str, Sequence[Any]], *, group: int = 2) -> Path:
    """Write a Parquet file of these columns, in groups of so many rows."""
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(dict(columns)), path, row_group_size=group)
    return path


def digest(content: bytes) -> bytes:
    """Return what stands for a file's bytes."""
    return hashlib.sha256(content).digest()[:16]


def part_contents(folder: Path) -> dict[str, bytes]:
    """Return all files of vectors, by their names."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".parquet", ".npy")
    }
