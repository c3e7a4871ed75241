"""How long indexing is said to take, by a clock that is set."""

from pathlib import Path

import pytest

from clipkit.search import sync
from clipkit.search.indexing_estimate import TRIED, IndexingEstimate, estimate_indexing
from clipkit.search.library import PhotoLibrary
from tests.fakes import FakeEncoder, save_image


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


def test_a_long_sync_is_announced_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "LEAST", 12)
    photos, told, encoder = tmp_path / "photos", [], FakeEncoder()
    photos.mkdir()
    _fill(photos, 12)
    library = PhotoLibrary.open(photos, encoder, location=tmp_path / "index")

    def announce(estimate: IndexingEstimate) -> None:
        told.append((estimate.num_images, len(library)))

    assert library.sync(on_estimate=announce).added == 12
    assert told == [(12, 0)]
    library.sync(on_estimate=announce)  # nothing is new
    _fill(photos, 11, blue=200)
    assert library.sync(on_estimate=announce).added == 11  # few
    assert len(told) == 1
