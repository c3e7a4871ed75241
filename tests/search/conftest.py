"""A folder of four images, an hour old, and a library whose index lies beside it."""

from pathlib import Path

import pytest

from clipkit.search.library import PhotoLibrary
from tests.fakes import FakeEncoder, age_files, save_image


@pytest.fixture(autouse=True)
def clipkit_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    monkeypatch.setenv("CLIPKIT_HOME", str(home))
    return home


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    save_image(folder / "red.png", (255, 0, 0))
    save_image(folder / "orange.png", (255, 128, 0))
    save_image(folder / "trip" / "green.png", (0, 255, 0))
    save_image(folder / "trip" / "blue.png", (0, 0, 255))
    age_files(folder)
    return folder


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder()


@pytest.fixture
def library(photos: Path, encoder: FakeEncoder) -> PhotoLibrary:
    return PhotoLibrary.open(photos, encoder)
