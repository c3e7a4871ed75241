"""The table behind a map."""

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import clipkit
from clipkit.mapping import image_map
from clipkit.mapping.image_map import MapOptions, make_map
from clipkit.progress import Callbacks
from tests.conftest import SAMPLES

pytest.importorskip("embedding_atlas", reason='the map needs  pip install "clipkit[map]"')
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "photos"
    (place / "pets").mkdir(parents=True)
    for name in ("cat", "dog", "owl", "castle", "temple"):
        inside = "pets" if name in ("cat", "dog") else "."
        shutil.copy(SAMPLES / f"{name}.jpg", place / inside)
    return place


@pytest.fixture
def library(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[clipkit.PhotoLibrary]:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "home"))
    found = clipkit.PhotoLibrary.open(folder, clipkit.load())
    found.sync()
    yield found


def test_a_row_tells_what_the_library_knows(library: clipkit.PhotoLibrary) -> None:
    encoder = clipkit.load()
    labels = ["a cat", "a dog", "an owl", "a building"]
    table = make_map(library, encoder, MapOptions(labels)).table
    assert table.path.tolist() == ["castle.jpg", "owl.jpg", "pets/cat.jpg", "pets/dog.jpg", "temple.jpg"]  # fmt: skip # noqa: E501
    assert table.folder.tolist() == [".", ".", "pets", "pets", "."]
    assert table.label.tolist() == ["a building", "an owl", "a cat", "a dog", "a building"]
    paths = [library.folder / path for path in table.path]
    ranked = clipkit.ZeroShotClassifier(encoder, labels).classify(paths, k=1)
    assert table.score.tolist() == pytest.approx([one[0]["score"] for one in ranked], abs=2e-3)
    for path, width, height, thumbnail in zip(
        paths, table.width, table.height, table.image, strict=True
    ):
        with Image.open(path) as image, Image.open(io.BytesIO(thumbnail)) as small:
            assert (width, height) == image.size
            assert max(small.size) == 128
    rows = library.embeddings().embeddings
    cosines = np.asarray(rows) @ np.asarray(rows).T
    assert table.neighbors[0]["ids"] == [
        row for row in np.argsort(-cosines[0], kind="stable").tolist() if row != 0
    ]


def test_an_image_that_changed_since_has_no_thumbnail(library: clipkit.PhotoLibrary) -> None:
    shutil.copy(SAMPLES / "crab.jpg", library.folder / "owl.jpg")
    shown = make_map(library, clipkit.load())
    assert shown.num_unreadable == 1
    assert shown.table.image.isna().tolist() == [False, True, False, False, False]


def test_thumbnails_can_be_left_out_and_are_of_too_many(
    library: clipkit.PhotoLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = make_map(library, clipkit.load(), MapOptions(has_thumbnails=False))
    assert "image" not in shown.table
    monkeypatch.setattr(image_map, "MAX_THUMBNAILS", 4)
    said: list[str] = []
    assert "image" not in make_map(library, clipkit.load(), None, Callbacks(say=said.append)).table
    assert said == ["laying out 5 images", "of more than 4 images no thumbnails are shown"]


def test_an_empty_library_is_refused(library: clipkit.PhotoLibrary) -> None:
    shutil.rmtree(library.folder / "pets")
    for path in library.folder.glob("*.jpg"):
        path.unlink()
    library.sync(prune=True)
    with pytest.raises(clipkit.InputError, match="no indexed image"):
        make_map(library, clipkit.load())


def test_only_the_newest_are_shown_if_so_many_are_asked_for(library: clipkit.PhotoLibrary) -> None:
    newest = sorted(image.path for image in library.images()[:2])
    shown = make_map(library, clipkit.load(), MapOptions(newest=2, has_thumbnails=False))
    assert [library.folder / path for path in shown.table.path] == newest
    assert shown.table.neighbors[0]["ids"] == [1]
    with pytest.raises(clipkit.InputError, match="newest must be at least 1, got 0"):
        MapOptions(newest=0)


def test_another_process_lays_out_the_same_map_and_its_places_are_known_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "home"))
    encoder = clipkit.load()
    library = clipkit.PhotoLibrary.open(SAMPLES, encoder)
    library.sync()
    assert not clipkit.is_map_laid_out(library)
    told: list[tuple[str, int, int | None]] = []

    @contextmanager
    def progress_for(label: str) -> Iterator[clipkit.Progress]:
        yield lambda done, total: told.append((label, done, total))

    options = MapOptions(has_thumbnails=False, in_own_process=True)
    shown = make_map(library, encoder, options, Callbacks(progress_for=progress_for))
    assert {(f"laying out {len(library)} images", 0, None)} < set(told)
    assert told[-1] == ("neighbors", len(library), len(library))
    assert clipkit.is_map_laid_out(library)
    assert not clipkit.is_map_laid_out(library, MapOptions(newest=20))
    again = make_map(library, encoder, MapOptions(has_thumbnails=False))
    assert again.table[["x", "y"]].equals(shown.table[["x", "y"]])
