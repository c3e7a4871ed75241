"""Images and shards that tests of pairs share."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from PIL import Image

from clipkit.data.pair import Pair, PairDataset
from clipkit.data.table import open_table
from clipkit.data.table_rows import Columns

Write = Callable[[Mapping[str, bytes | str]], Path]


def image(number: int) -> bytes:
    """Return a small image, different for each number."""
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (number % 256, number // 256 % 256, 99)).save(file, "PNG")
    return file.getvalue()


def contents(source: PairDataset) -> list[tuple[bytes, tuple[str, ...]]]:
    """Return the bytes and the captions of all pairs."""
    return [(_bytes(pair), pair.captions) for pair in map(source.__getitem__, range(len(source)))]


def _bytes(pair: Pair) -> bytes:
    if isinstance(pair.image, bytes):
        return pair.image
    assert isinstance(pair.image, Path)
    return pair.image.read_bytes()


def reasons(source: PairDataset) -> list[str]:
    """Return why pairs were skipped, with the ends of their paths."""
    return [f"{Path(error.path).name}: {error.reason}" for error in source.skipped]


TABLE_IMAGES = {"photos/a.png": image(1), "photos/b.png": image(2)}


def open_titles(path: Path, image: str = "filepath", caption: str = "title") -> PairDataset:
    """Open a table with these columns that leaves nothing to say."""

    def unsaid(line: str) -> None:
        raise AssertionError(line)

    return open_table(path, Columns(image, caption), say=unsaid)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write files, by their paths; returns the folder."""

    def run(files: Mapping[str, bytes | str]) -> Path:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path

    return run


def write_shard(path: Path, samples: Sequence[Mapping[str, object]]) -> Path:
    """Write a shard by webdataset's own writer."""
    import webdataset

    with webdataset.TarWriter(str(path), encoder=False) as shard:
        for sample in samples:
            shard.write(dict(sample))
    return path
