"""A process that is killed in the middle of a sync loses nothing it had committed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clipkit.search.library import PhotoLibrary
from tests.fakes import FakeEncoder, save_picture

NUM_PICTURES = 9

# Batches of two, each committed: the clock goes on by an hour whenever it is asked.
SYNC = """
import itertools, os, signal, sys
from clipkit.search.catalog import Catalog
from clipkit.search.library import PhotoLibrary
from clipkit.search.vectors import VectorWriter
from tests.fakes import FakeEncoder

folder, moment, count = sys.argv[1], sys.argv[2], int(sys.argv[3])

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def kill_before_call(owner, name):
    original, calls = getattr(owner, name), itertools.count()
    def patched(*arguments, **options):
        if next(calls) == count:
            kill()
        return original(*arguments, **options)
    setattr(owner, name, patched)

encoder = FakeEncoder()
if moment == "picture":
    encoder.before_image = lambda number: number == count and kill()
elif moment == "vectors":
    kill_before_call(VectorWriter, "flush")
elif moment == "catalog":
    kill_before_call(Catalog, "_write_meta")  # inside the transaction, after its rows
hours = itertools.count(step=3600)
PhotoLibrary.open(folder, encoder).sync(clock=lambda: next(hours))
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(NUM_PICTURES):
        save_picture(tmp_path / "photos" / f"{number}.png", (number, 0, 255 - number))
    return tmp_path / "photos"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize(
    ("moment", "count", "committed"),
    [
        ("picture", 0, 0),
        ("picture", 1, 0),
        ("picture", 4, 4),
        ("picture", 7, 6),
        ("vectors", 0, 0),
        ("vectors", 2, 4),
        ("catalog", 0, 0),
        ("catalog", 3, 6),
    ],
)
def test_a_kill_keeps_what_was_committed_and_the_next_sync_does_the_rest(
    photos: Path, tmp_path: Path, moment: str, count: int, committed: int
) -> None:
    command = [sys.executable, "-c", SYNC, str(photos), moment, str(count)]
    result = subprocess.run(command, cwd=Path(__file__).parents[2], check=False)
    assert result.returncode == -signal.SIGKILL

    encoder = FakeEncoder()
    library = PhotoLibrary.open(photos, encoder)
    assert len(library) == committed
    if library.is_indexed:
        assert len(library.search("blue", k=NUM_PICTURES)) == committed

    report = library.sync()
    assert (report.added, report.unchanged) == (NUM_PICTURES - committed, committed)
    assert len(encoder.encoded_images) == NUM_PICTURES - committed  # no forward pass twice

    fresh = PhotoLibrary.open(photos, FakeEncoder(), location=tmp_path / "fresh")
    fresh.sync()
    assert library.search("blue") == fresh.search("blue")
