"""How long indexing is said to take, by a clock that is set."""

import itertools
from pathlib import Path

import pytest

from clipkit.search import sync_progress
from clipkit.search.indexing_estimate import (
    LEAST,
    TRIED,
    IndexingEstimate,
    RowCost,
    estimate_indexing,
    pace_teller,
)
from clipkit.search.library import PhotoLibrary
from clipkit.search.sync_progress import SyncCallbacks
from tests.fakes import FakeEncoder, save_image
from tests.search.timed_sync import sync_by


def _fill(folder: Path, number: int, *, blue: int = 0) -> list[Path]:
    """Write so many images, each of another size in bytes than those before."""
    paths = [folder / f"{blue}-{red}.png" for red in range(number)]
    for red, path in enumerate(paths):
        save_image(path, (red, 1, blue))
    return paths


def test_images_from_the_whole_list_are_timed_after_one_that_starts_the_engine(
    tmp_path: Path,
) -> None:
    encoder, paths = FakeEncoder(), _fill(tmp_path, 40)
    (tmp_path / "0-5.png").write_bytes(b"no image")
    found = estimate_indexing(encoder, paths, clock=iter([100.0, 104.0]).__next__)
    assert found == IndexingEstimate(40, 4 / TRIED)
    assert found.seconds == 20
    assert str(found) == "40 images to index take about 20 s on this machine, at 0.5 s an image"
    assert encoder.encoded_images == ["0-0.png", *(f"0-{red}.png" for red in range(0, 40, 5))]
    assert estimate_indexing(encoder, paths[:3], clock=iter([0.0, 6.0]).__next__).seconds == 6


def test_the_pace_is_told_once_when_enough_images_and_time_have_passed() -> None:
    told: list[IndexingEstimate] = []
    times = {10: 100.0, 17: 103.0, 18: 100.2, 22: 106.0}  # seconds by how many are done
    for steps, expected in (
        ((10, 17), []),  # 7 images after the first step are few
        ((10, 18), []),  # .2 s are short
        ((10, 17, 18, 22, 22), [IndexingEstimate(300, 6 / 12)]),
    ):
        told.clear()
        clock = iter([times[step] for step in steps])
        watch = pace_teller(300, told.append, clock=clock.__next__)
        for step in steps:
            watch(step)
        assert told == expected


def test_a_long_sync_tells_how_long_it_takes_without_embedding_anything_for_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_progress, "LEAST", 12)
    photos, told, encoder = tmp_path / "photos", list[IndexingEstimate](), FakeEncoder()
    photos.mkdir()
    _fill(photos, 12)
    library = PhotoLibrary.open(photos, encoder, location=tmp_path / "index")
    clock = itertools.count(step=0.25)
    assert sync_by(lambda: next(clock), library, on_estimate=told.append).added == 12
    assert [estimate.num_images for estimate in told] == [12]
    assert sorted(encoder.encoded_images) == sorted(f"0-{red}.png" for red in range(12))
    library.sync(on_estimate=told.append)  # nothing is new
    _fill(photos, 11, blue=200)
    assert sync_by(lambda: next(clock), library, on_estimate=told.append).added == 11  # few
    assert len(told) == 1


def test_images_that_only_moved_say_nothing_about_the_pace() -> None:
    told = list[IndexingEstimate]()
    seconds = itertools.count()
    tell = SyncCallbacks(on_estimate=told.append).after_step(
        1000 + LEAST, LEAST, lambda: float(next(seconds))
    )
    for num_done in (500, 1000):
        tell(num_done)
    assert told == []
    for num_done in (1001, 1001 + TRIED):  # a second for so many
        tell(num_done)
    assert told == [IndexingEstimate(LEAST, 1 / TRIED)]


def test_the_room_is_told_where_there_are_crops() -> None:
    """A million images of 5 rows of 512 numbers of 2 bytes: 5 120 MB."""
    cost = RowCost(5, 512)
    assert cost.bytes_each == 5120
    told = str(IndexingEstimate(1_000_000, 0.01, cost))
    assert told.endswith("at 0.01 s an image, and 5,120 MB on the disk, with 5 rows an image")
    plain = IndexingEstimate(1_000_000, 0.01)
    assert str(IndexingEstimate(1_000_000, 0.01, RowCost(1, 512))) == str(plain)
