"""Files that an earlier clipkit has written, put where a test may change them."""

import gzip
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clipkit.cli.main import main
from tests.conftest import SAMPLES

FILES = Path(__file__).parent / "files"
PHOTOS = ("bee", "castle", "cat", "coffee_cup", "dog", "horses", "lightning", "rocket")
MTIME = 1_700_000_000  # of every image when the files were made, seconds since 1970
MARK = "@FOLDER@"  # stands in text files for the directory that they were made in


@dataclass(frozen=True)
class Outcome:
    """What a command came to."""

    status: int
    out: str
    err: str


Clipkit = Callable[..., Outcome]


@pytest.fixture
def clipkit_command(capsys: pytest.CaptureFixture[str]) -> Clipkit:
    """Return a function that runs ``clipkit WORDS…`` in this process."""

    def run(*words: object) -> Outcome:
        capsys.readouterr()
        status = main([str(word) for word in words])
        return Outcome(status, *capsys.readouterr())

    return run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eight sample photographs and a file that is none, as they were indexed; no index."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in PHOTOS:
        shutil.copyfile(SAMPLES / f"{name}.jpg", folder / f"{name}.jpg")
    (folder / "broken.jpg").write_bytes(b"no image")
    _set_times(folder)
    return folder


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """Pairs, checkpoints and runs, in a place of their own."""
    folder = Path(shutil.copytree(FILES / "training", tmp_path / "training"))
    for path in folder.rglob("*"):
        if path.suffix in (".toml", ".json", ".jsonl", ".md") and "checkpoints" not in path.parts:
            text = path.read_text()
            if MARK in text:
                path.write_text(text.replace(MARK, str(folder)))
    _set_times(folder / "pairs")
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Let torch add numbers up in the same order on every machine."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def place_index(location: Path) -> Path:
    """Put the index of the photographs at a directory; return its catalog."""
    location.mkdir(parents=True)
    catalog = location / "catalog.sqlite"
    for path in (FILES / "library" / "index").iterdir():
        if path.suffix != ".gz":
            shutil.copyfile(path, location / path.name)
    unpack(FILES / "library" / "index" / "catalog.sqlite.gz", catalog)
    return catalog


def unpack(source: Path, destination: Path) -> None:
    """Write what a compressed file holds."""
    destination.write_bytes(gzip.decompress(source.read_bytes()))


def _set_times(folder: Path) -> None:
    for path in folder.iterdir():
        os.utime(path, (MTIME, MTIME))
